"""A problem with a configuration: which key, which value, what is allowed instead."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from psyche_p2p.errors import ConfigError

_MAX_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `key` is empty where the file as a whole is."""

    key: str
    value: Any
    allowed: str

    def __str__(self) -> str:
        if not self.key:
            return self.allowed
        shown = "" if self.value is None else f" = {show_value(self.value)}"
        return f"{self.key}{shown}: {self.allowed}"


class InvalidConfigError(ConfigError):
    """A ConfigError that lists every problem found; its one line names the first."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        more = len(problems) - 1
        cure = f"{more} more: see psyche-peer run validate" if more else ""
        super().__init__(f"{source}: {problems[0]}", cure)


def show_value(value: Any) -> str:
    """A value as TOML would spell it, cut to what fits in a line."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # an integer of more digits than Python will print
        text = "(a huge number)"
    printable = "".join(c if c.isprintable() else "?" for c in text[: _MAX_SHOWN + 1])
    return printable if len(printable) <= _MAX_SHOWN else printable[:_MAX_SHOWN] + "..."
