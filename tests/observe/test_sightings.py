"""What an observer makes of messages: only verified ones count, each once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p import wire
from psyche_p2p.identity import Identity
from psyche_p2p.ids import BlockHash, Height, RunId, View
from psyche_p2p.observe.sightings import Sightings
from tests import strategies as our
from tests.net.real import identity_of

RUN = RunId(b"r" * 32)
PRECOMMIT = wire.Vote(
    height=Height(7),
    view=View(0),
    step=wire.VoteStep.PRECOMMIT,
    block_hash=BlockHash(b"b" * 32),
)


def test_precommits_are_counted_by_voter_and_block() -> None:
    sightings = Sightings(RUN)
    counts = []
    for name in ("alice", "bob", "alice", "carol"):
        sighting = sightings.on_message(wire.seal(PRECOMMIT, RUN, identity_of(name)))
        counts.append(sighting.precommits if sighting else None)
    assert counts == [1, 2, None, 3]  # the third is a duplicate
    other = replace(PRECOMMIT, block_hash=BlockHash(b"c" * 32))
    sighting = sightings.on_message(wire.seal(other, RUN, identity_of("alice")))
    assert sighting is not None
    assert sighting.precommits == 1
    prevote = replace(PRECOMMIT, step=wire.VoteStep.PREVOTE)
    sighting = sightings.on_message(wire.seal(prevote, RUN, identity_of("alice")))
    assert sighting is not None
    assert sighting.precommits is None


def test_what_is_not_valid_is_counted_by_its_reason_and_not_shown() -> None:
    sightings = Sightings(RUN)
    sealed = bytearray(wire.seal(PRECOMMIT, RUN, identity_of("alice")))
    sealed[-1] ^= 1
    foreign = wire.seal(PRECOMMIT, RunId(b"o" * 32), identity_of("alice"))
    for data in (b"junk", bytes(sealed), foreign):
        assert sightings.on_message(data) is None
    assert sightings.refused == {"malformed": 1, "bad_signature": 1, "wrong_run": 1}
    assert not sightings.kinds


@given(our.enveloped, our.identities)
def test_every_message_has_a_line_and_a_json_object(message: Any, identity: Identity) -> None:
    sighting = Sightings(RUN).on_message(wire.seal(message, RUN, identity))
    assert sighting is not None
    shown = json.loads(json.dumps(sighting.as_json()))
    assert (shown["sender"], shown["kind"]) == (
        identity.peer_id,
        sighting.envelope.kind.name.lower(),
    )
    assert sighting.as_line().isprintable()


@given(st.binary(max_size=200))
def test_junk_never_raises(data: bytes) -> None:
    assert Sightings(RUN).on_message(data) is None
