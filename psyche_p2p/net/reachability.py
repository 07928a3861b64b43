"""Whether others can reach this machine, found by asking some of them to try (pure).

One answer can be a lie or an accident, so two that agree decide. An address says how far the answer
holds: a peer on the same local network proves nothing about the internet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from psyche_p2p.ids import PeerId
from psyche_p2p.wire.reachability import DialBackReport, DialOutcome

AGREEING_ANSWERS = 2


class Reach(Enum):
    """What the answers add up to."""

    REACHABLE = "reachable"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one peer said; None if it said nothing."""

    helper: PeerId
    report: DialBackReport | None

    def outcome(self, port: int) -> DialOutcome | None:
        """What the peer found on this port."""
        entries = self.report.outcomes if self.report is not None else ()
        return next((entry.outcome for entry in entries if entry.port == port), None)


@dataclass(frozen=True, slots=True)
class Reachability:
    """The verdict, and what a person should know about it."""

    reach: Reach
    hosts: tuple[str, ...]
    """The addresses from which the asked peers saw us come, the most frequent first."""
    cause: str
    cure: str

    @property
    def needs_relay(self) -> bool:
        """Whether others need a detour to us, as far as anyone knows."""
        return self.reach is not Reach.REACHABLE

    def __str__(self) -> str:
        return f"{self.cause}; {self.cure}" if self.cure else self.cause


def is_decided(answers: Sequence[Answer], port: int) -> bool:
    """Whether asking more peers would change nothing."""
    reached = [outcome is DialOutcome.REACHED for outcome in _outcomes(answers, port)]
    return max(reached.count(True), reached.count(False)) >= AGREEING_ANSWERS


def decide_reachability(answers: Sequence[Answer], port: int) -> Reachability:
    """What these answers say about the port that this machine listens on."""
    outcomes = _outcomes(answers, port)
    hosts = _observed_hosts(answers, port)
    if not outcomes:
        cause = f"cannot tell whether others reach this machine: {_silence(answers)}"
        cure = "others will use a relay; check the bootstrap addresses"
        return Reachability(Reach.UNKNOWN, hosts, cause, cure)
    reached = outcomes.count(DialOutcome.REACHED)
    share = f"{reached} of {len(outcomes)} peers could connect to {_shown(hosts[0], port)}"
    if reached >= AGREEING_ANSWERS or reached == len(outcomes):
        scope, cure = _scope(hosts)
        return Reachability(Reach.REACHABLE, hosts, f"{scope}: {share}", cure)
    if reached:
        cause = f"cannot tell whether others reach this machine: {share}"
        return Reachability(Reach.UNKNOWN, hosts, cause, _cure_for(outcomes, hosts, port))
    cause = f"others cannot reach this machine: {share} ({_reason(outcomes)})"
    return Reachability(Reach.UNREACHABLE, hosts, cause, _cure_for(outcomes, hosts, port))


def _outcomes(answers: Sequence[Answer], port: int) -> list[DialOutcome]:
    """One a helper, its first: whoever answers twice counts once."""
    by_helper: dict[PeerId, DialOutcome] = {}
    for answer in answers:
        outcome = answer.outcome(port)
        if outcome is not None:
            by_helper.setdefault(answer.helper, outcome)
    return list(by_helper.values())


def _observed_hosts(answers: Sequence[Answer], port: int) -> tuple[str, ...]:
    seen = Counter(
        answer.report.observed_host
        for answer in answers
        if answer.report is not None and answer.outcome(port) is not None
    )
    return tuple(host for host, _ in seen.most_common())


def _silence(answers: Sequence[Answer]) -> str:
    return f"none of {len(answers)} peers answered" if answers else "there was nobody to ask"


def _scope(hosts: tuple[str, ...]) -> tuple[str, str]:
    """How far the good news goes, and what to do if that is not far enough."""
    if len(hosts) > 1:
        listed = " and ".join(hosts)
        return "others can reach this machine", f"they see it at {listed}: announce all of them"
    if _is_local(hosts[0]):
        return (
            "peers on the same network can reach this machine",
            "if others shall too, forward the port and announce the outer address",
        )
    return "others can reach this machine", ""


def _is_local(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return not address.is_global  # private, shared by a provider's customers, this machine itself


def _reason(outcomes: Sequence[DialOutcome]) -> str:
    most_common, _ = Counter(outcomes).most_common(1)[0]
    return {
        DialOutcome.REFUSED: "connections are refused",
        DialOutcome.TIMED_OUT: "connections time out",
        DialOutcome.UNREACHABLE: "there is no route",
        DialOutcome.SOMEONE_ELSE: "someone else answers there",
    }.get(most_common, "not always")


def _cure_for(outcomes: Sequence[DialOutcome], hosts: tuple[str, ...], port: int) -> str:
    failures = [outcome for outcome in outcomes if outcome is not DialOutcome.REACHED]
    most_common, _ = Counter(failures).most_common(1)[0]
    local = f"forward TCP port {port} on your router to this machine"
    return {
        DialOutcome.REFUSED: f"{local}, or announce the address that leads here",
        DialOutcome.TIMED_OUT: f"open TCP port {port} in the firewall, or {local}",
        DialOutcome.UNREACHABLE: f"announce another address than {hosts[0]}",
        DialOutcome.SOMEONE_ELSE: f"{hosts[0]} port {port} leads to another machine: {local}",
    }[most_common] + "; until then others use a relay"


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
