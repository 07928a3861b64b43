"""Whether all peers hold the same parameters, round by round, as far as their tiers overlap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from localnet_parts.tally import Tally
from psyche_p2p.ids import short_id

_SHOWN = 12


def find_differences(tallies: Sequence[Tally]) -> list[str]:
    """One line for every round and tier level at which two peers, or a peer and the log, differ.

    Roots are listed from the smallest model up, so two lists agree where both have an entry.
    """
    first: dict[tuple[int, int], tuple[str, str]] = {}
    differences = {}
    for place, who, root in _all_roots(tallies):
        other, expected = first.setdefault(place, (who, root))
        if root != expected and place not in differences:
            differences[place] = (
                f"after round {place[0]}, level {place[1]}: {other} has root "
                f"{expected[:_SHOWN]} and {who} has {root[:_SHOWN]}"
            )
    return [differences[place] for place in sorted(differences)]


def last_root(tallies: Iterable[Tally]) -> str:
    """The root of the largest model anybody holds after the last round; empty without any."""
    held = [(number, len(roots), roots) for t in tallies for number, roots in t.roots.items()]
    _, _, roots = max(held, default=(0, 0, ()))
    return roots[-1] if roots else ""


def _all_roots(tallies: Sequence[Tally]) -> Iterator[tuple[tuple[int, int], str, str]]:
    for tally in tallies:
        name = f"peer {short_id(tally.peer)}"
        for who, by_round in ((name, tally.roots), (f"the log of {name}", tally.agreed_roots)):
            for number, roots in by_round.items():
                for level, root in enumerate(roots):
                    if root.strip("0"):  # zeros stand where nobody holds a tier
                        yield (number, level), who, root
