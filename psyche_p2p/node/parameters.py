"""The trainer's parameters, kept in step with the log by one worker, job after job.

The order of jobs is the order in which the log settled rounds and opened new ones, so a round's
update is applied before the training that should see it. Whatever goes wrong (the trainer dies, a
blob is gone, a root differs) ends in the same place: parameters from a snapshot, ours or the
others', and every settled round after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from psyche_p2p.blobs import BlobError
from psyche_p2p.errors import StorageError, Unavailable
from psyche_p2p.ids import ParamRoot, RoundIndex, Tier
from psyche_p2p.log import get_logger
from psyche_p2p.node.blob_desk import BlobDesk
from psyche_p2p.node.checkpoints import MOST_BEHIND, Checkpoints
from psyche_p2p.node.settled import Settled
from psyche_p2p.node.snapshots import Snapshots
from psyche_p2p.node.trainer_desk import TrainerDesk, TrainerLost
from psyche_p2p.node.trainer_process import TrainerFailed
from psyche_p2p.observe import events
from psyche_p2p.train.messages import (
    Applied,
    Apply,
    Command,
    Evaluate,
    Evaluated,
    Load,
    Loaded,
    MakeTargets,
    Save,
    Saved,
    Snapshot,
    Snapshotted,
    TargetsMade,
    Train,
    Trained,
)
from psyche_p2p.wire.bulk import ParameterOffer
from psyche_p2p.wire.records import ClosedRound

SNAPSHOT_ROUNDS = 16
DEMAND_ROUNDS = 4
_SNAPSHOT_SHARE = 50  # at most one part in so many of the time goes into our own snapshots
_DEMAND_SHARE = 20  # and into those that others asked for, however many ask
_KEPT_HISTORY = 64
_RETRY_S = 1.0
_EVALUATED_SAMPLES = 64
_CANNOT_GO_ON = (Unavailable, StorageError, BlobError)

EventT = TypeVar("EventT")
Roots = tuple[ParamRoot, ...]
Job = Callable[[], Awaitable[None]]
Emit = Callable[[events.Event], None]
_log = get_logger(__name__)


class Donors(Protocol):
    """Gets parameters from other peers."""

    async def fetch(self) -> ParameterOffer:
        """A blob, now in our store, that holds what the log says."""

    def find_fault(self, offer: ParameterOffer) -> str | None:
        """Why a blob in our store does not hold what the log says."""


class Parameters:
    """What a trainer's peer knows of its parameters, and the worker that keeps them."""

    def __init__(
        self,
        desk: TrainerDesk,
        tier: Tier,
        settled: Settled,
        blobs: BlobDesk,
        snapshots: Snapshots,
        donors: Donors,
        checkpoints: Checkpoints,
        emit: Emit,
    ) -> None:
        self._desk = desk
        self._tier = tier
        self._settled = settled
        self._blobs = blobs
        self._snapshots = snapshots
        self._donors = donors
        self._checkpoints = checkpoints
        self._emit = emit
        self._jobs: asyncio.Queue[Job] = asyncio.Queue()
        self._history: dict[RoundIndex, Roots] = {}
        self._next_snapshot_at = self._next_demand_at = 0.0
        self._is_fresh = True  # the trainer has the run's initial parameters
        self._is_misled = False  # our own copies are in doubt
        self.wanted_tiers: Callable[[], frozenset[Tier]] = frozenset
        """The tiers that others asked for lately."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when there are new roots."""
        self.applied = settled.beginning
        """How many rounds the parameters have had."""
        self.is_sound = False
        """Whether they are known, and the log's as far as this peer can tell."""

    def roots_at(self, param_round: RoundIndex) -> Roots | None:
        """The roots we reached after so many rounds, the smallest tier's first."""
        return self._history.get(param_round) if self.is_sound else None

    def catch_up(self) -> None:
        """The log settled a round."""
        self._jobs.put_nowait(self._apply_settled)

    def train(
        self, command: Train, is_wanted: Callable[[], bool], done: Callable[[Trained], None]
    ) -> None:
        """Train a batch when its turn comes, unless it is of no use any more by then."""

        async def job() -> None:
            if is_wanted():
                done(await self._ask(command, Trained))

        self._jobs.put_nowait(job)

    def make_targets(
        self,
        command: MakeTargets,
        is_wanted: Callable[[], bool],
        done: Callable[[TargetsMade], None],
    ) -> None:
        """Compute a student's targets when their turn comes, if the round is still open then."""

        async def job() -> None:
            if is_wanted():
                done(await self._ask(command, TargetsMade))

        self._jobs.put_nowait(job)

    def store_for(self, tiers: frozenset[Tier]) -> None:
        """The parameters rest: store them for whoever needs them, and for our own restart."""

        async def job() -> None:
            for tier in {self._tier, *(one for one in tiers if one > self._tier)}:
                await self._take_snapshot(tier)

        self._jobs.put_nowait(job)

    def evaluate_and_save(self, *, is_last: bool) -> None:
        """Measure the held-out loss and write a checkpoint.

        Whoever is still catching up leaves that to the others: the next epoch would begin without
        it, unless these parameters are the run's last.
        """
        is_behind = self._settled.closed_count - self.applied > MOST_BEHIND
        if not is_last and (is_behind or not self.is_sound):
            return

        async def job() -> None:
            found = await self._ask(Evaluate(_EVALUATED_SAMPLES), Evaluated)
            for tier, loss in zip(found.tiers, found.losses, strict=True):
                self._emit(events.Evaluated(self.applied, tier, loss))
            await self._save_checkpoint()

        self._jobs.put_nowait(job)

    async def drain(self) -> None:
        """Wait until everything asked for so far is done."""
        done = asyncio.Event()

        async def job() -> None:
            done.set()

        self._jobs.put_nowait(job)
        await done.wait()

    def compare_with_log(self) -> None:
        """Look whether the roots agreed on are ours; if not, stop and take the others'."""
        if self._checkpoints.is_any_decided:
            self._jobs.put_nowait(self._settle_checkpoints)
        if not self.is_sound:
            return
        for param_round, ours in self._history.items():
            agreed = self._settled.agreed_roots.get(param_round, ours)
            for own, theirs in zip(ours, agreed, strict=False):
                if own != theirs and any(theirs):
                    self._emit(events.Diverged(param_round, own.hex(), theirs.hex()))
                    _log.error(
                        "our parameters are not the run's: taking the others'",
                        rounds=param_round,
                        ours=own.hex()[:16],
                        theirs=theirs.hex()[:16],
                    )
                    self.is_sound, self._is_misled = False, True
                    return

    # The worker

    async def run(self) -> None:
        """Bring the parameters here, then do job after job, until cancelled."""
        await self._restore()
        while True:
            job = await self._jobs.get()
            if not self.is_sound:
                await self._restore()
            await self._carry_out(job)

    async def _carry_out(self, job: Job) -> None:
        """A job, once more if the trainer died over it or what it needs had to be fetched."""
        if not await self._try_job(job):
            await self._restore()
            await self._try_job(job)

    async def _try_job(self, job: Job) -> bool:
        """Whether a job is over; if not, the parameters have to be brought back."""
        try:
            await job()
        except TrainerFailed as failed:
            _log.error("the trainer could not do it", command=failed.command, cause=str(failed))
        except _CANNOT_GO_ON as error:
            self._note_trouble(error)
            return False
        return True

    def _note_trouble(self, error: Exception) -> None:
        self.is_sound = False
        if isinstance(error, TrainerLost):
            self._is_fresh = True
            self._emit(events.Restarted("trainer", str(error)))
        else:
            _log.warning("the parameters are brought back", cause=str(error))

    async def _restore(self) -> None:
        """Parameters that the log vouches for, and everything settled since; never gives up."""
        attempts = [self._begin_with_own, self._begin_with_others]
        if self._is_misled:
            attempts.reverse()
        while not self.is_sound:
            for attempt in attempts:
                try:
                    if await attempt():
                        await self._apply_settled()
                        self.is_sound, self._is_misled = True, False
                        break
                except (*_CANNOT_GO_ON, TrainerFailed) as error:
                    self._note_trouble(error)
            else:
                await asyncio.sleep(_RETRY_S)
        self.on_change()

    async def _begin_with_own(self) -> bool:
        """Our newest good snapshot, or what the run began with; False if we have neither."""
        for offer in self._snapshots.own:
            fault = await asyncio.to_thread(self._donors.find_fault, offer)
            if fault is None:
                await self._load(offer)
                return True
            _log.warning("a snapshot is of no use", rounds=offer.param_round, cause=fault)
        if self._is_fresh and self._desk.ready is not None and self._has_all_rounds():
            roots = _decode_roots(self._desk.ready.roots)
            first = self._settled.beginning
            self._history, self.applied = {first: roots}, first
            return self._settled.agreed_roots.get(first, roots)[: len(roots)] == roots
        return False

    def _has_all_rounds(self) -> bool:
        """Whether what was settled since the beginning is little enough to be replayed."""
        settled = range(self._settled.beginning, self._settled.closed_count)
        return len(settled) <= 2 * SNAPSHOT_ROUNDS and all(
            self._settled.round(RoundIndex(index)) is not None for index in settled
        )

    async def _begin_with_others(self) -> bool:
        await self._load(await self._donors.fetch())
        return True

    async def _load(self, offer: ParameterOffer) -> None:
        self._is_fresh = False
        loaded = await self._ask(Load(offer.blob_hash.hex()), Loaded)
        self.applied = RoundIndex(loaded.param_round)
        self._history = {self.applied: _decode_roots(loaded.roots)}

    async def _apply_settled(self) -> None:
        while (closed := self._settled.round(self.applied)) is not None:
            await self._apply(closed)
            await self._snapshot_if_due()
            if self._checkpoints.is_scheduled(self.applied):
                await self._save_checkpoint()

    async def _apply(self, closed: ClosedRound) -> None:
        """One round's accepted updates: all of them, from whoever has what is missing here."""
        hashes = [one.blob_hash for one in closed.accepted]
        await asyncio.gather(
            *(
                self._blobs.fetch(one.blob_hash, closed.round, (one.trainer,))
                for one in closed.accepted
            )
        )
        command = Apply(closed.round, tuple(one.hex() for one in hashes), closed.learning_rate_bits)
        self._is_fresh = False
        applied = await self._ask(command, Applied)
        self.applied = RoundIndex(closed.round + 1)
        self._history[self.applied] = _decode_roots(applied.roots)
        while len(self._history) > _KEPT_HISTORY:
            del self._history[next(iter(self._history))]
        self._emit(events.Applied(self.applied, applied.roots, applied.seconds))
        self.compare_with_log()
        self.on_change()

    async def _snapshot_if_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if self.applied % DEMAND_ROUNDS == 0 and now >= self._next_demand_at:
            seconds = 0.0
            for tier in self.wanted_tiers():
                if tier >= self._tier:
                    seconds += await self._take_snapshot(tier)
            self._next_demand_at = now + _DEMAND_SHARE * seconds
        if self.applied % SNAPSHOT_ROUNDS == 0 and now >= self._next_snapshot_at:
            await self._take_snapshot(self._tier)

    async def _save_checkpoint(self) -> None:
        """Write a checkpoint, to be published once the log agrees on its root."""
        param_round = self.applied
        if not self._checkpoints.is_missing(param_round):
            return
        place = self._checkpoints.unproven_place(param_round)
        try:
            await self._ask(Save(str(place)), Saved)
        except TrainerFailed as failed:  # a full disk must not hold up the parameters
            _log.error("no checkpoint", rounds=param_round, cause=str(failed))
            return
        self._checkpoints.take(param_round)
        await self._settle_checkpoints()

    async def _settle_checkpoints(self) -> None:
        for decision in self._checkpoints.take_decided():
            folder = await asyncio.to_thread(self._checkpoints.carry_out, decision)
            if folder is not None:
                self._checkpoints.on_published(folder, decision.param_round)

    async def _take_snapshot(self, tier: Tier) -> float:
        """How many seconds of the trainer's it took."""
        if self._snapshots.has(self.applied, tier):
            return 0.0
        made = await self._ask(Snapshot(self.applied, tier), Snapshotted)
        self._snapshots.add(made)
        now = asyncio.get_running_loop().time()
        self._next_snapshot_at = now + _SNAPSHOT_SHARE * made.seconds
        oldest = self._snapshots.oldest_round
        if oldest is not None:
            self._settled.forget_before(oldest)
            self._blobs.forget_before(oldest)
        return made.seconds

    async def _ask(self, command: Command, expected: type[EventT]) -> EventT:
        answer = await self._desk.ask(command)
        assert isinstance(answer, expected), f"{answer} to {type(command).__name__}"
        return answer


def _decode_roots(roots: tuple[str, ...]) -> Roots:
    return tuple(ParamRoot(bytes.fromhex(root)) for root in roots)
