"""Why a student could not train: its teacher's targets are not there, or are not targets."""

from __future__ import annotations

from psyche_p2p.errors import ExitCode, RemoteError, Unavailable
from psyche_p2p.ids import BatchInterval, PeerId


class MissingTargets(Unavailable):
    """A teacher's targets did not come in time. The round goes on without this student."""

    def __init__(self, batch: BatchInterval, teacher: PeerId | None, detail: str) -> None:
        super().__init__(
            f"no targets for batch {batch} from teacher {teacher or '(none)'}: {detail}",
            "the next round has another teacher; raise distillation.targets_wait_s if this recurs",
        )
        self.batch = batch
        self.teacher = teacher


class InvalidTargets(RemoteError):
    """A teacher's targets are not what the run's configuration says they are."""

    exit_code = ExitCode.INVALID

    def __init__(self, batch: BatchInterval, teacher: PeerId, detail: str) -> None:
        super().__init__(
            f"the targets for batch {batch} from teacher {teacher} are invalid: {detail}"
        )
        self.batch = batch
        self.teacher = teacher
