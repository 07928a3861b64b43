"""Structured logging: an event, its fields, and the run, round and peer it happened in.

Modules call `get_logger(__name__)` and log an event with fields; where lines go and whether they
are JSON or for people is decided once, by the command line, with `configure_logging`.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import Any, TextIO

_ROOT = "psyche_p2p"
_LEVEL_NAMES = {
    logging.DEBUG: "DEBUG",
    logging.INFO: "INFO",
    logging.WARNING: "WARNING",
    logging.ERROR: "ERROR",
}
_context: ContextVar[Mapping[str, Any] | None] = ContextVar("psyche_log_context", default=None)


class Logger:
    """A logger whose messages are events: `log.info("round closed", round=3, accepted=4)`."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, **fields: Any) -> None:
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._emit(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the traceback of the exception being handled."""
        self._emit(logging.ERROR, event, fields, exc_info=True)

    def _emit(
        self, level: int, event: str, fields: Mapping[str, Any], exc_info: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            merged = {**(_context.get() or {}), **fields}
            self._logger.log(level, "%s", event, exc_info=exc_info, extra={"fields": merged})


def get_logger(name: str) -> Logger:
    """The logger of a module of this package."""
    return Logger(logging.getLogger(name))


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add fields (run, round, peer) to everything logged inside, in this task and its children."""
    token = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": _timestamp(record).isoformat(timespec="milliseconds"),
            "level": _level_name(record).lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=_plain)


class HumanFormatter(logging.Formatter):
    """A line for people: time, level where it matters, event, fields."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [_timestamp(record).astimezone().strftime("%H:%M:%S")]
        if record.levelno >= logging.WARNING:
            parts.append(_level_name(record))
        parts.append(record.getMessage())
        fields: Mapping[str, Any] = getattr(record, "fields", {})
        parts += [f"{key}={_one_line(value)}" for key, value in fields.items()]
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(
    *, level: int = logging.INFO, as_json: bool = False, stream: TextIO | None = None
) -> None:
    """Send this package's log lines to a stream (standard error if none). Only `cli` calls this."""
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else HumanFormatter())
    root = logging.getLogger(_ROOT)
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False


def _timestamp(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, tz=timezone.utc)


def _level_name(record: logging.LogRecord) -> str:
    """Our own names: hivemind renames WARNING for the whole process when it is imported."""
    return _LEVEL_NAMES.get(record.levelno, record.levelname)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _one_line(value: Any) -> str:
    text = _plain(value)
    return json.dumps(text) if any(c.isspace() or not c.isprintable() for c in text) else text
