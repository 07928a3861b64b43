"""How a run that nobody has begun begins: those who are ready found it together.

Everyone says its join, and again for those who come later. Once enough peers are there and no more
have come for a while, the trainers among them sign the same genesis (`consensus.Founding`). Where
authorities decide, the first of them writes the genesis alone and all others get it from a peer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from psyche_p2p.config import RunConfig
from psyche_p2p.consensus import Broadcast, Founding, Persist, Signer
from psyche_p2p.coordinator import Signed, genesis_hash, rules_of
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.ids import BlockHash, PeerId, SchemaHash, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.node.beginning import Beginnings
from psyche_p2p.node.comparison import NOT_TOLD
from psyche_p2p.node.timers import Timers
from psyche_p2p.node.voice import Voice
from psyche_p2p.node.wal import FileWal
from psyche_p2p.wire import Envelope, Join, Vote
from psyche_p2p.wire.commands import Admit, Genesis
from psyche_p2p.wire.messages import Role

_TICK_S = 0.25
_SAY_AGAIN_S = 1.0
_ASK_OTHERS_S = 1.0
_RENEW_S = 10.0
_FORGET_MS = 25_000  # a peer whose join has not been renewed for so long is not ready any more
_ATTEMPT_MS = 4000
_HOLD_MS = 3000  # so close to founding, a join that is signed anew would make another genesis
_OLDEST_JOIN_S = 20.0
_EARLY_VOTES = 256
_REPORT_S = 10.0
_EXPLAIN_S = 2.0  # founding waits so long: joins may not grow old meanwhile
_WARN_OF = 4
_log = get_logger(__name__)


class FoundingWork:
    """One peer's part, until there is a genesis."""

    def __init__(
        self,
        config: RunConfig,
        signer: Signer,
        make_join: Callable[[], Join],
        find_beginnings: Callable[[], Awaitable[Beginnings | None]],
        voice: Voice,
        wal: FileWal,
        timers: Timers,
        ask_others: Callable[[], Awaitable[LogHead | None]],
        explain_unlike: Callable[[PeerId, SchemaHash], Awaitable[str]],
    ) -> None:
        self._config = config
        self._rules = rules_of(config)
        self._signer = signer
        self._make_join = make_join
        self._find_beginnings = find_beginnings
        self._beginnings: Beginnings | None = None
        self._voice = voice
        self._wal = wal
        self._timers = timers
        self._ask_others = ask_others
        self._explain_unlike = explain_unlike
        self._founding = Founding(signer, _ATTEMPT_MS)
        self._founding.restore(wal.load())
        self._ready: dict[PeerId, tuple[Signed, int]] = {}
        self._ready_since_ms = timers.now_ms
        self._documents: dict[BlockHash, Genesis] = {}
        self._signed: dict[PeerId, BlockHash | None] = {}
        self._founders_seen: frozenset[PeerId] = frozenset()
        self._votes: deque[Envelope] = deque(maxlen=_EARLY_VOTES)
        """Of those, too, whom we do not see ready yet; gossip would not bring them again."""

    def on_envelope(self, envelope: Envelope) -> None:
        """Somebody is ready, or has signed a genesis."""
        if isinstance(envelope.message, Join):
            self._on_join(envelope)
        elif isinstance(envelope.message, Vote):
            self._on_vote(envelope)

    def _on_join(self, envelope: Envelope) -> None:
        if envelope.sender not in self._ready:
            self._ready_since_ms = self._timers.now_ms
        signed = Signed(envelope.sender, envelope.message, envelope.signature)
        self._ready[envelope.sender] = (signed, self._timers.now_ms)

    def _on_vote(self, envelope: Envelope) -> None:
        self._votes.append(envelope)
        self._signed[envelope.sender] = envelope.message.block_hash
        self._founding.on_message(envelope, self._timers.now_ms)
        self._carry_out()

    async def run(self) -> LogHead:
        """The beginning of the run's log, ours or the one that others have founded already."""
        found = await self._ask_others()
        if found is not None:
            return found
        self._beginnings = await self._find_beginnings()
        can_found = self._beginnings is not None or Role.TRAINER not in self._make_join().roles
        if not can_found:
            _log.info("waiting for a peer that has the checkpoint which this run begins with")
        joined_at = said_at = asked_at = told_at = float("-inf")
        while True:
            now_s = self._timers.now_ms / 1000
            if can_found and self._is_time_to_renew(now_s - joined_at):
                joined_at = said_at = now_s
                own = self._voice.say(self._make_join())
            if now_s - asked_at >= _ASK_OTHERS_S:
                asked_at = now_s
                found = await self._ask_others()
                if found is not None:
                    return found
            if can_found and now_s - said_at >= _SAY_AGAIN_S:
                said_at = now_s
                self._voice.repeat(own)
            head = self._try_to_found()
            if head is not None:
                return head
            if now_s - told_at >= _REPORT_S:
                told_at = now_s
                await self._report()
            await asyncio.sleep(_TICK_S)

    async def _report(self) -> None:
        _log.info(
            "waiting for the run to begin",
            ready=len(self._ready),
            needed=self._rules.init_min_members,
        )
        if self._is_time():
            unlike = [
                peer
                for peer, signed in self._signed.items()
                if signed not in self._documents and peer in self._ready
            ]
            await asyncio.gather(*map(self._warn_of, unlike[:_WARN_OF]))

    async def _warn_of(self, peer: PeerId) -> None:
        """Say what keeps us and this peer from founding the run together."""
        schema = self._ready[peer][0].message.schema_hash
        try:
            cause = await asyncio.wait_for(self._explain_unlike(peer, schema), _EXPLAIN_S)
        except asyncio.TimeoutError:
            cause = NOT_TOLD
        _log.warning(
            "another has signed another beginning of this run than we",
            peer=short_id(peer),
            cause=cause or "model and data are the same, as far as it tells",
            cure="use the same version of psyche-p2p, the same of Python, and the same data",
        )

    def _try_to_found(self) -> LogHead | None:
        if self._rules.authorities:
            return self._found_alone()
        self._forget_the_silent()
        if self._is_time():
            genesis = self._genesis(self._founders())
            document = genesis_hash(genesis)
            self._documents[document] = genesis
            founders = frozenset(one.peer for one in genesis.founders)
            self._founding.on_ready(document, founders, self._timers.now_ms)
            self._count_early_votes(founders)
        deadline = self._founding.next_deadline()
        if deadline is not None and self._timers.now_ms >= deadline:
            self._founding.on_timer(self._timers.now_ms)
        self._carry_out()
        certificate = self._founding.certificate
        if certificate is None:
            return None
        return LogHead(self._config, self._documents[certificate.block_hash], certificate)

    def _count_early_votes(self, founders: frozenset[PeerId]) -> None:
        """Hear again what was ignored when we did not know its author as a founder."""
        if founders != self._founders_seen:
            self._founders_seen = founders
            for envelope in self._votes:
                self._founding.on_message(envelope, self._timers.now_ms)

    def _found_alone(self) -> LogHead | None:
        """The first authority's genesis: its blocks name it, so nobody else can replace it."""
        if self._signer.peer != self._rules.authorities[0] or self._beginnings is None:
            return None
        return LogHead(self._config, self._genesis([]), None)

    def _forget_the_silent(self) -> None:
        oldest = self._timers.now_ms - _FORGET_MS
        gone = [peer for peer, (_, heard_ms) in self._ready.items() if heard_ms < oldest]
        for peer in gone:
            del self._ready[peer]
            self._ready_since_ms = self._timers.now_ms

    def _is_time_to_renew(self, age_s: float) -> bool:
        """The same join again would be taken for an echo, and an old one for that of the gone."""
        is_near = self._is_time_in(_HOLD_MS)
        return age_s >= (_OLDEST_JOIN_S if is_near else _RENEW_S)

    def _is_time(self) -> bool:
        return self._beginnings is not None and self._is_time_in(0)

    def _is_time_in(self, delay_ms: int) -> bool:
        """Whether enough are ready, and will have waited long enough so much later."""
        waited_ms = self._timers.now_ms + delay_ms - self._ready_since_ms
        return (
            self._signer.peer in self._ready
            and len(self._ready) >= self._rules.init_min_members
            and waited_ms >= self._rules.waiting_extra_ms
        )

    def _founders(self) -> list[Signed]:
        """The trainers that are ready; the others are admitted by the first blocks."""
        ready = [signed for signed, _ in self._ready.values()]
        trainers = [one for one in ready if Role.TRAINER in one.message.roles]
        return sorted(trainers, key=lambda one: one.sender)[: self._rules.max_members]

    def _genesis(self, founders: list[Signed]) -> Genesis:
        assert self._beginnings is not None
        began = self._beginnings
        return Genesis(
            run_id=began.run_id,
            time_ms=max([one.message.nonce for one in founders], default=self._make_join().nonce),
            schema_hash=began.schema_hash,
            param_roots=began.param_roots,
            data_manifest=began.data_manifest,
            founders=tuple(Admit(one.sender, one.message, one.signature) for one in founders),
        )

    def _carry_out(self) -> None:
        for effect in self._founding.take_effects():
            match effect:
                case Persist(record):
                    self._wal.append(record)
                case Broadcast(envelope):
                    self._voice.repeat(envelope)
                case _:
                    _log.warning("somebody signed two beginnings", effect=type(effect).__name__)
