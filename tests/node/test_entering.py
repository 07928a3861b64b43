"""What peers say of a run, and how long one waits for those who say nothing: on real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from psyche_p2p.config import canonical_bytes, run_id
from psyche_p2p.ids import Height, RunId, Tier
from psyche_p2p.net.bulk_client import Contact, Patience
from psyche_p2p.net.handlers import Call, CallWrapper
from psyche_p2p.net.limits import CallLimits
from psyche_p2p.net.methods import MEMBER_SERVICE
from psyche_p2p.net.shelf import Shelf
from psyche_p2p.node.entering import describe
from psyche_p2p.wire.bulk import RunDescription
from tests.coordinator.world import make_config
from tests.net.builders import make_person, member_client, serve_members

CONFIG = make_config()
RUN = run_id(CONFIG)
PEOPLE = [make_person(f"member {number}") for number in range(2)]
ALICE = make_person("alice")
PATIENT = CallLimits(stall_s=60.0)
PATIENCE = Patience(answer_s=60.0, stall_s=60.0)


class Told:
    """A run as one of its members tells it."""

    run_id: RunId = RUN

    def data_files(self) -> bytes:
        return b""

    def schema(self) -> bytes:
        return b""

    def describe(self, wanted: Tier | None) -> RunDescription:
        return RunDescription(canonical_bytes(CONFIG), None, None, Height(0), ())


def silent(wrapper: CallWrapper, _: Shelf) -> grpc.GenericRpcHandler:
    """The service of a process that was frozen."""

    async def hang(_: Call, __: bytes) -> None:
        await asyncio.Event().wait()

    methods = {"Describe": wrapper.stream(hang)}
    return grpc.method_handlers_generic_handler(MEMBER_SERVICE, methods)


@pytest.mark.parametrize("is_refused", [False, True], ids=["one hangs", "one hangs, one is down"])
def test_one_that_hangs_holds_up_nobody_who_asks(is_refused: bool, tmp_path: Path) -> None:
    async def play() -> None:
        async with (
            serve_members(
                PEOPLE[0], tmp_path / "0", [ALICE], limits=PATIENT, make_service=silent
            ) as hanging,
            serve_members(PEOPLE[1], tmp_path / "1", [ALICE], described=Told()) as good,
            member_client(ALICE, PATIENCE) as client,
        ):
            contacts = [hanging.contact(), good.contact()]
            if is_refused:
                contacts.append(Contact(make_person("down").pinned, "127.0.0.1:1"))
            began = asyncio.get_running_loop().time()
            found = await describe(client, contacts, RUN, straggler_s=0.5)
            assert asyncio.get_running_loop().time() - began < PATIENCE.stall_s / 2
            assert [one.contact for one in found] == [good.contact()]

    asyncio.run(play())
