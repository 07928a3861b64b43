"""What all sections of a configuration are made of: the kinds of values, and their base."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from psyche_p2p.ids import PeerId, public_key_from_peer_id

MAX_INTEGER = 2**53 - 1


def _require_peer_id(value: str) -> str:
    try:
        public_key_from_peer_id(PeerId(value))
    except ValueError as error:
        raise PydanticCustomError("peer_id", "must be a peer id (12D3KooW...)") from error
    return value


def _require_file_pattern(value: str) -> str:
    if value.startswith("/") or ".." in value.split("/") or not value.isprintable():
        raise PydanticCustomError("file_pattern", "must be a relative path or pattern without '..'")
    return value


def _require_mirror(value: str) -> str:
    """The path is joined with file names as it is, so it may hold nothing that ends a path."""
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or "@" in parts.netloc or parts.query or parts.fragment:
        raise PydanticCustomError("mirror", "must be the http:// or https:// address of a folder")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise PydanticCustomError("mirror", "must be ASCII, with anything else percent-encoded")
    return value


def require_printable(value: str) -> str:
    if not value.isprintable():
        raise PydanticCustomError("printable", "must be one line of printable text")
    return value


Count = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Positive = Annotated[int, Field(ge=1, le=MAX_INTEGER)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, le=1e18, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, le=1e18, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=10 * 365 * 86400, allow_inf_nan=False)]
Percent = Annotated[int, Field(ge=0, le=100)]
PeerIdText = Annotated[str, AfterValidator(_require_peer_id)]
PeerIds = Annotated[tuple[PeerIdText, ...], Field(strict=False, max_length=256)]
FilePattern = Annotated[
    str, Field(min_length=1, max_length=512), AfterValidator(_require_file_pattern)
]
MirrorAddress = Annotated[str, Field(max_length=512), AfterValidator(_require_mirror)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class Section(BaseModel):
    """What every section shares: unknown keys are errors, no value is guessed, none changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )
