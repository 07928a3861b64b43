"""How people write a link down, and what is refused."""

from __future__ import annotations

import pytest
from wan_emulation.profile import PathProfile, parse_profile


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50ms,0.5%,100mbit", PathProfile(50, 0, 0.005, 100, 100)),
        ("50,0.005,100", PathProfile(50, 0, 0.005, 100, 100)),
        ("0.2s", PathProfile(200)),
        ("0, 0, 1gbit", PathProfile(0, 0, 0, 1000, 1000)),
        ("25MS,1%,512kbit", PathProfile(25, 0, 0.01, 0.512, 0.512)),
    ],
)
def test_a_profile_is_read(text: str, expected: PathProfile) -> None:
    assert parse_profile(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fast",
        "50ms,1%,100mbit,7",
        "-5",
        "50m",
        "5,101%",
        "5,1",
        "5,0,0",
        "5,0,1e3",
        "nan",
        "inf",
    ],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_profile(text)


def test_a_delay_cannot_vary_by_more_than_itself() -> None:
    with pytest.raises(ValueError, match="jitter above the delay"):
        PathProfile(delay_ms=5, jitter_ms=6)
