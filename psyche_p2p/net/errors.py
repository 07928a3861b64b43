"""Why a call on the bulk plane failed, and the one place where gRPC's errors become ours."""

from __future__ import annotations

import grpc

from psyche_p2p.errors import PsycheError, RemoteError, Unavailable


class Unreachable(Unavailable):
    """No connection, a broken one, or one on which nothing moves."""


class Renewing(Unreachable):
    """The server was being renewed as the call came: ask again, on a new connection."""


class Busy(Unavailable):
    """The peer has no place for this call now."""


class NotHeld(Unavailable):
    """The peer does not have what was asked for."""


class NotAdmitted(RemoteError):
    """The peer does not serve us."""


class UnknownRun(RemoteError):
    """The peer is up, and not in the run that it was asked about."""


class Misbehaviour(RemoteError):
    """The peer sent what no honest peer sends."""


_TOO_LARGE = "larger than max"


def from_rpc_error(peer: str, error: grpc.aio.AioRpcError) -> PsycheError:
    """What a failed call means for the caller."""
    code, details = error.code(), (error.details() or "")[:200]
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # gRPC reports with this code both a refusal and a message we would not take.
        reason = f"peer {peer}: {details}"
        return Misbehaviour(reason) if _TOO_LARGE in details else Busy(reason)
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return NotAdmitted(f"peer {peer} refused us: {details}", "check that we are a member")
    if code is grpc.StatusCode.NOT_FOUND:
        return NotHeld(f"peer {peer}: {details}")
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        cure = "check the run's id, or ask a peer that is in this run"
        return UnknownRun(f"peer {peer} is in another run or in none", cure)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotAdmitted(f"peer {peer} does not offer this", "update the older of the two peers")
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return RemoteError(f"peer {peer} did not accept our request: {details}")
    kind = Renewing if code is grpc.StatusCode.CANCELLED else Unreachable
    return kind(f"peer {peer} cannot be reached: {code.name.lower()}: {details}")
