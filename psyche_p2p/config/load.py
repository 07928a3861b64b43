"""Reading a run configuration: TOML text to a checked RunConfig, or an error that names the key."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from psyche_p2p.config.problems import InvalidConfigError, Problem
from psyche_p2p.config.rules import find_contradictions
from psyche_p2p.config.schema import RunConfig
from psyche_p2p.config.section import Section
from psyche_p2p.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_CONFIG_BYTES = 1 << 20
_FIXED_WORDING = {
    "missing": "is required",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a number of a sensible size",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
}


def load_run_config(path: Path) -> RunConfig:
    """The configuration in a TOML file."""
    source = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{source}: no such file", "check the path") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{source!r}: cannot be read: {reason}", "check the path") from error
    return parse_run_config(data, source)


def parse_run_config(data: bytes, source: str) -> RunConfig:
    """The configuration in TOML text; `source` is what errors call it."""
    if len(data) > MAX_CONFIG_BYTES:
        raise InvalidConfigError(
            source, [Problem("", None, f"a configuration has at most {MAX_CONFIG_BYTES} bytes")]
        )
    try:
        values = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise InvalidConfigError(source, [Problem("", None, "must be UTF-8 text")]) from error
    except RecursionError as error:
        problem = Problem("", None, "is nested too deeply for a configuration")
        raise InvalidConfigError(source, [problem]) from error
    except ValueError as error:  # TOMLDecodeError, or an integer with thousands of digits
        raise InvalidConfigError(source, [Problem("", None, f"is not TOML: {error}")]) from error
    return check_run_config(values, source)


def check_run_config(values: Mapping[str, Any], source: str) -> RunConfig:
    """A RunConfig from plain values, or an InvalidConfigError with everything that is wrong."""
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        # an unknown key first: it is usually why another one is missing
        details = sorted(
            error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden"
        )
        raise InvalidConfigError(source, [_problem(detail) for detail in details]) from error
    contradictions = find_contradictions(config)
    if contradictions:
        raise InvalidConfigError(source, contradictions)
    return config


def _problem(detail: ErrorDetails) -> Problem:
    key = ".".join(str(part) for part in detail["loc"] if not str(part).startswith("literal["))
    if detail["type"] == "extra_forbidden":
        return Problem(key, None, f"is not a known key{_suggestion(key)}")
    value = None if detail["type"] == "missing" else detail["input"]
    return Problem(key, value, _wording(detail))


def _wording(detail: ErrorDetails) -> str:
    context: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "greater_than":
            return f"must be above {context['gt']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "less_than":
            return f"must be below {context['lt']}"
        case "literal_error":
            return f"must be {context['expected']}"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}"
        case "too_long" | "string_too_long":
            return f"must have at most {context['max_length']} entries or characters"
        case "string_too_short":
            return f"must have at least {context['min_length']} characters"
        case other:
            return _FIXED_WORDING.get(other, detail["msg"])


def _suggestion(key: str) -> str:
    """The nearest known key: first among the key's own section, then anywhere."""
    section, _, _ = key.rpartition(".")
    known = list(known_keys(RunConfig))
    siblings = [name for name in known if name.rpartition(".")[0] == section]
    for candidates in (siblings, known):
        near = difflib.get_close_matches(key, candidates, n=1, cutoff=0.75)
        if near:
            return f"; did you mean {near[0]}?"
    name = key.rpartition(".")[2]
    elsewhere = [candidate for candidate in known if candidate.rpartition(".")[2] == name]
    return f"; did you mean {elsewhere[0]}?" if elsewhere else ""


def known_keys(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Every key below a section, sections included, in dotted form."""
    for name, info in section.model_fields.items():
        yield prefix + name
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from known_keys(annotation, f"{prefix}{name}.")
