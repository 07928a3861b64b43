"""The error tree: one line each, and exit codes that the README documents."""

from __future__ import annotations

from pathlib import Path

from psyche_p2p import errors
from psyche_p2p.errors import ExitCode, PsycheError, WireCode, WireError

README = Path(__file__).parent.parent / "README.md"
PROTOCOL = Path(__file__).parent.parent / "docs" / "protocol.md"


def test_every_error_is_in_the_drawn_tree() -> None:
    tree = errors.__doc__ or ""
    classes = [
        item for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, PsycheError)
    ]  # fmt: skip
    assert len(classes) > 8
    assert [item.__name__ for item in classes if item.__name__ not in tree] == []


def test_an_error_is_a_cause_and_a_cure() -> None:
    assert str(PsycheError("it broke")) == "it broke"
    assert str(PsycheError("it broke", "mend it")) == "it broke; mend it"
    assert str(WireError(WireCode.WRONG_RUN, "another run")) == "wrong_run: another run"


def test_every_exit_code_is_documented() -> None:
    text = README.read_text()
    assert [code for code in ExitCode if f"| {code.value} | {code.name} |" not in text] == []


def test_every_wire_code_is_documented() -> None:
    text = PROTOCOL.read_text()
    assert [code for code in WireCode if f"`{code.value}`" not in text] == []
