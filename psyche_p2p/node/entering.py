"""From a bootstrap address to a run: which one it is, its configuration, and how its log begins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from psyche_p2p.config import RunConfig
from psyche_p2p.coordinator.logfile import LogHead
from psyche_p2p.errors import ConfigError, PsycheError, RemoteError, Unavailable
from psyche_p2p.hashing import DIGEST_BYTES
from psyche_p2p.ids import PeerId, RunId, Tier, short_id
from psyche_p2p.log import get_logger
from psyche_p2p.net.bulk_client import BulkClient, Contact
from psyche_p2p.net.description import Description, fetch_description, most_described
from psyche_p2p.net.discovery import Discovery
from psyche_p2p.net.records import FoundRun
from psyche_p2p.node.directory import Directory

PATIENCE_S = 30.0
_RETRY_S = 0.5
STRAGGLER_S = 2.0
FoundT = TypeVar("FoundT")
_log = get_logger(__name__)


async def find_run(discovery: Discovery, wanted: str | None) -> RunId:
    """The run of this name or id; without one, the only run of this network."""
    by_id = _parse_run_id(wanted)
    if by_id is not None:
        return by_id

    seen: set[str] = set()

    async def look() -> RunId | None:
        runs = await discovery.find_runs()
        seen.update(one.name for one in runs)
        return _choose(runs, wanted)

    def explain() -> str:
        what = f"a run named {wanted!r}" if wanted else "any run"
        others = f", but in {', '.join(sorted(seen))}" if seen else ""
        return f"nobody in this network is in {what}{others}"

    return await _patiently(look, explain)


async def fetch_config(client: BulkClient, directory: Directory, run_id: RunId) -> RunConfig:
    """The run's configuration, from whichever of its peers answers first."""

    refused: dict[PeerId, str] = {}

    async def look() -> RunConfig | None:
        await directory.look()
        doors = _doors(directory)
        told = await describe(client, doors, run_id, refused=refused, straggler_s=STRAGGLER_S)
        for description in told:
            return description.config
        return None

    def explain() -> str:
        reasons = f": {'; '.join(refused.values())}" if refused else ""
        return f"no peer of run {short_id(run_id)} gives its configuration{reasons}"

    return await _patiently(look, explain)


async def find_beginning(client: BulkClient, directory: Directory, run_id: RunId) -> LogHead | None:
    """How the run began, as most of its peers say; None if nobody knows of it."""
    return most_described(await describe(client, _doors(directory), run_id))


async def describe(
    client: BulkClient,
    contacts: Sequence[Contact],
    run_id: RunId,
    wanted: Tier | None = None,
    refused: dict[PeerId, str] | None = None,
    straggler_s: float | None = None,
) -> list[Description]:
    """What those who answer say of the run; who does not answer, or lies, is left out.

    So is, with `straggler_s`, who is silent for so long after as many have answered: one peer that
    hangs need not hold up who asks. Whoever counts answers (`most_described`) waits for all.

    `refused` is given everyone's reason, and keeps it from being logged again and again.
    """
    known = {} if refused is None else refused
    answers = await _answers(
        [
            asyncio.create_task(fetch_description(client, contact, run_id, wanted))
            for contact in contacts
        ],
        straggler_s,
    )
    descriptions = []
    for contact, answer in zip(contacts, answers, strict=True):
        if isinstance(answer, asyncio.CancelledError):
            _log.debug("no description in time", peer=short_id(contact.peer))
        elif isinstance(answer, RemoteError | ConfigError):
            if known.get(contact.peer) != answer.cause:
                known[contact.peer] = answer.cause
                _log.warning("a peer's description", peer=short_id(contact.peer), cause=str(answer))
        elif isinstance(answer, PsycheError):
            _log.debug("no description", peer=short_id(contact.peer), cause=str(answer))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            descriptions.append(answer)
    return descriptions


async def _answers(
    asked: Sequence[asyncio.Task[FoundT]], straggler_s: float | None
) -> list[FoundT | BaseException]:
    """What each came to; a CancelledError for the stragglers."""
    silent = set(asked)
    try:
        while silent:
            answered = sum(_has_succeeded(one) for one in asked)
            patience_s = straggler_s if answered >= len(silent) else None
            done, silent = await asyncio.wait(
                silent, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
    finally:
        for one in silent:
            one.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
    return answers


def _has_succeeded(one: asyncio.Task[FoundT]) -> bool:
    return one.done() and not one.cancelled() and one.exception() is None


async def _patiently(
    look: Callable[[], Awaitable[FoundT | None]], explain: Callable[[], str]
) -> FoundT:
    """Look until something is found or patience ends; then say what was looked for."""
    clock = asyncio.get_running_loop().time
    deadline, told = clock() + PATIENCE_S, False
    while True:
        try:
            found = await look()
        except Unavailable:
            found = None
        if found is not None:
            return found
        if clock() > deadline:
            raise Unavailable(
                explain(),
                "check the bootstrap address and the run's name, and that a peer has started it",
            )
        if not told:
            told = True
            _log.info("looking for the run", patience_s=PATIENCE_S)
        await asyncio.sleep(_RETRY_S)


def _choose(runs: Sequence[FoundRun], wanted: str | None) -> RunId | None:
    fitting = [one for one in runs if wanted is None or one.name == wanted]
    if len(fitting) > 1:
        shown = ", ".join(f"{one.name} ({one.run_id.hex()}, {one.peers} peers)" for one in fitting)
        raise ConfigError(f"this network has several such runs: {shown}", "say which with --run ID")
    return fitting[0].run_id if fitting else None


def _parse_run_id(text: str | None) -> RunId | None:
    if text is None or len(text) != 2 * DIGEST_BYTES:
        return None
    try:
        return RunId(bytes.fromhex(text))
    except ValueError:
        return None


def _doors(directory: Directory) -> list[Contact]:
    return list(directory.open_doors().values())
