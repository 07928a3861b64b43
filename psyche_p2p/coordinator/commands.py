"""Commands to the opaque bytes that a block carries, and back."""

from __future__ import annotations

from typing import TypeAlias

from psyche_p2p.errors import Rejected, WireError
from psyche_p2p.wire import commands as wire
from psyche_p2p.wire.codec import decode, encode
from psyche_p2p.wire.commands import CommandKind

AnyCommand: TypeAlias = (
    wire.Admit
    | wire.Release
    | wire.Obey
    | wire.OpenEpoch
    | wire.BeginTraining
    | wire.CloseRound
    | wire.CloseEpoch
    | wire.EjectForVotes
    | wire.EjectForCommitments
    | wire.EjectForVerdicts
)

_TYPES: dict[CommandKind, type[AnyCommand]] = {
    CommandKind.ADMIT: wire.Admit,
    CommandKind.RELEASE: wire.Release,
    CommandKind.OBEY: wire.Obey,
    CommandKind.OPEN_EPOCH: wire.OpenEpoch,
    CommandKind.BEGIN_TRAINING: wire.BeginTraining,
    CommandKind.CLOSE_ROUND: wire.CloseRound,
    CommandKind.CLOSE_EPOCH: wire.CloseEpoch,
    CommandKind.EJECT_FOR_VOTES: wire.EjectForVotes,
    CommandKind.EJECT_FOR_COMMITMENTS: wire.EjectForCommitments,
    CommandKind.EJECT_FOR_VERDICTS: wire.EjectForVerdicts,
}
_KINDS = {command_type: kind for kind, command_type in _TYPES.items()}


def encode_command(command: AnyCommand) -> bytes:
    """A command as a block carries it; ValueError if it holds what may not be sent."""
    return encode(wire.Command(_KINDS[type(command)], encode(command)))


def decode_command(data: bytes) -> AnyCommand:
    """The command in a block's bytes; Rejected for anything but a canonical one."""
    try:
        outer = decode(wire.Command, data)
        return decode(_TYPES[outer.kind], outer.body)
    except WireError as error:
        raise Rejected(f"not a command: {error.cause}") from error
