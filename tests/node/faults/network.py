"""A network of real peers that a test may disturb: started, watched through their events, ended."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from localnet_parts.cast import Cast
from localnet_parts.peer import Peer, end_all
from localnet_parts.plan import Plan, make_run_config
from localnet_parts.roots import find_differences
from typing_extensions import Self
from wan_emulation.wan import Wan

from psyche_p2p.config import load_run_config
from psyche_p2p.ids import PeerId
from psyche_p2p.observe.events import Accused, Diverged, Event, MemberChanged, Restarted

ROOT = Path(__file__).parents[3]
NANO = ROOT / "configs" / "nano.toml"
PEER = (str(Path(sys.executable).with_name("psyche-peer")),)
LIAR = (sys.executable, "-m", "tests.node.faults.liar")
PATIENCE_S = 180.0
_POLL_S = 0.02
_TAIL_LINES = 12
EventT = TypeVar("EventT", bound=Event)


class Network:
    """Peers of one run, inside `with`; when it is entered, the honest ones have all trained."""

    def __init__(
        self,
        folder: Path,
        tiers: Sequence[int],
        changes: Sequence[str],
        programs: Mapping[int, Sequence[str]] | None = None,
        is_honest: Sequence[int] | None = None,
        data_dir: Path | None = None,
        words: Mapping[int, Sequence[str]] | None = None,
        wan: Wan | None = None,
    ) -> None:
        plan = Plan(
            tiers=tuple(tiers),
            witnesses=0,
            seed=0,
            exit_after_s=None,
            kill_every_s=None,
            give_up_after_s=PATIENCE_S,
            data_dir=data_dir,
            program=PEER,
        )
        # more rounds than there will be time for
        endless = ["run.total_rounds=100000", "schedule.warmup_rounds=4", *changes]
        config = make_run_config(load_run_config(NANO), plan, None, False, endless)
        self._cast = Cast(plan, config, folder, wan, programs, words)
        self.peers: list[Peer] = []
        self._honest = range(len(tiers)) if is_honest is None else is_honest
        self._expected_ends: set[int] = set()

    def __enter__(self) -> Self:
        os.environ["PYTHONPATH"] = str(ROOT)  # of the peers: this tree, and the liars in it
        self.peers = self._cast.assemble()
        try:
            self.start_all()
            self.until("everyone trains", self._have_trained)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end_all(self.peers, grace_s=0.0)
        for peer in self.peers:
            peer.close()

    # Watching

    def update(self) -> None:
        """Read what the peers did; a peer that ended by itself fails the test."""
        for peer in self.peers:
            if peer.update() and peer.number not in self._expected_ends:
                words = peer.last_words()
                raise AssertionError(f"peer {peer.number} ended with {peer.exit_code}: {words}")

    def until(self, what: str, is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        """Follow the events until something has happened."""
        deadline_s = time.monotonic() + within_s
        self.update()
        while not is_so():
            if time.monotonic() > deadline_s:
                raise AssertionError(f"not within {within_s:g} s: {what}\n{self.describe()}")
            time.sleep(_POLL_S)
            self.update()

    def let_pass(self, seconds: float) -> None:
        """Follow the events for a while."""
        end_s = time.monotonic() + seconds
        self.until("the time has passed", lambda: time.monotonic() >= end_s)

    def rounds_pass(self, count: int = 3) -> None:
        """Wait until so many more rounds have been closed."""
        goal = self.last_round + count
        self.until(f"round {goal} is closed", lambda: self.last_round >= goal)

    @property
    def last_round(self) -> int:
        """The newest round that anyone knows to be closed."""
        self.update()
        return max(peer.tally.last_round or -1 for peer in self.peers)

    def until_back(self, *peers: Peer) -> None:
        """Wait until contributions of these peers to rounds from now on have been accepted."""
        first = self.last_round + 2  # what was open when we began to wait proves nothing
        wanted = {peer.tally.peer for peer in peers}

        def is_so() -> bool:
            seen: set[PeerId] = set()
            for peer in peers:
                accepted = peer.tally.accepted
                seen.update(*(accepted[index] for index in accepted if index >= first))
            return seen >= wanted

        self.until(f"peers {_numbers(peers)} are back", is_so)

    def noted(self, peer: Peer, kind: type[EventT]) -> list[EventT]:
        """A peer's rare events of one kind."""
        return [event for event in peer.tally.noted if isinstance(event, kind)]

    def has_restarted(self, peer: Peer, what: str) -> bool:
        """Whether it says that a part of it began again."""
        return any(event.what == what for event in self.noted(peer, Restarted))

    def until_accused(self, by: Iterable[Peer], of: Peer, of_what: str) -> None:
        """Wait until each of these peers has named another, with a reason that says so."""
        for peer in by:
            self.until(
                f"peer {peer.number} accuses peer {of.number}: {of_what}",
                partial(self._has_accused, peer, of, of_what),
            )

    def until_changed(self, by: Iterable[Peer], of: Peer, what: str) -> None:
        """Wait until each of these peers' logs has it that a membership changed so."""
        for peer in by:
            self.until(
                f"peer {of.number} is {what}, says peer {peer.number}",
                partial(self._has_changed, peer, of, what),
            )

    def _has_accused(self, by: Peer, of: Peer, of_what: str) -> bool:
        return any(of_what in reason for reason in self.accusations(by, of))

    def _has_changed(self, by: Peer, of: Peer, what: str) -> bool:
        return what in self.changes(by, of)

    def accusations(self, by: Peer, of: Peer) -> list[str]:
        """What one peer accuses another of."""
        return [
            event.reason
            for event in by.tally.noted
            if isinstance(event, Accused) and event.peer == of.tally.peer
        ]

    def changes(self, by: Peer, of: Peer) -> list[str]:
        """What one peer's log says became of another's membership."""
        return [
            event.what
            for event in by.tally.noted
            if isinstance(event, MemberChanged) and event.peer == of.tally.peer
        ]

    def require_equal_roots(self, *, besides: Iterable[Peer] = ()) -> None:
        """Everyone had the same parameters after every round, and those that the log names."""
        self.update()
        left_out = list(besides)
        honest = [peer.tally for peer in self.peers if peer not in left_out]
        assert not find_differences(honest), self.describe()
        for peer in self.peers:
            if peer not in left_out:
                assert peer.tally.roots, f"peer {peer.number} applied nothing"
                assert not self.noted(peer, Diverged), self.describe()
        assert any(tally.agreed_roots for tally in honest)

    def describe(self) -> str:
        """What a person needs who reads of a failure."""
        lines = []
        for peer in self.peers:
            standing = f"{peer.tally.phase}, round {peer.tally.last_round}"
            lines += [f"--- peer {peer.number} ({peer.tally.peer}): {standing}"]
            if peer.log_path.exists():
                lines += peer.log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(lines)

    def _have_trained(self) -> bool:
        honest = [self.peers[number].tally for number in self._honest]
        seen = set[PeerId]().union(*honest[0].accepted.values())
        return all(tally.accepted and tally.peer in seen for tally in honest)

    # Disturbing

    def kill(self, *peers: Peer) -> None:
        """kill -9 of the peers' own processes, and of nothing else."""
        for peer in peers:
            os.kill(peer.pid, signal.SIGKILL)
        self.until_ended(*peers)

    def until_ended(self, *peers: Peer) -> None:
        """Wait for the end of processes that are meant to end."""
        self._expected_ends.update(peer.number for peer in peers)
        for peer in peers:
            self.until(f"peer {peer.number} has ended", partial(_has_ended, peer))
            peer.kills += 1

    def start_again(self, peer: Peer) -> None:
        """The same command again, in the same home."""
        self._expected_ends.discard(peer.number)
        self._cast.start(peer)

    def join(self, tier: int) -> Peer:
        """A newcomer, which has never been here."""
        peer = self._cast.add(tier)
        self._cast.start(peer)
        return peer

    def kill_all(self) -> None:
        """Every process of every peer, all at once."""
        for peer in self.peers:
            if peer.is_up:
                os.kill(peer.pid, signal.SIGKILL)
        for peer in self.peers:
            peer.kill()
            peer.kills += 1

    def start_all(self) -> None:
        """The first peer, then the others with its address; for the first time or again."""
        first, *others = self.peers
        self._cast.start(first)
        self.until("the first peer listens", lambda: bool(first.tally.addresses))
        for peer in others:
            self._cast.start(peer)

    def order(self, peer: Peer, what: str) -> None:
        """Have a liar do what it was started for (liar.py)."""
        (peer.home / what).touch()


def _has_ended(peer: Peer) -> bool:
    return not peer.is_up


def _numbers(peers: Iterable[Peer]) -> str:
    return ", ".join(str(peer.number) for peer in peers)


def liar(lies: str) -> tuple[str, ...]:
    """The program of a peer that tells these lies (liar.py)."""
    return (*LIAR, *shlex.split(lies))
