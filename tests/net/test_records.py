"""The DHT's gate: only a peer's own, fresh, signed, well-formed record gets in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.certificate import make_certificate
from psyche_p2p.clock import ManualClock
from psyche_p2p.errors import RemoteError
from psyche_p2p.ids import RunId, Signature, Tier
from psyche_p2p.net.records import (
    MAX_RECORD_LIFE_S,
    RecordValidator,
    found_peer,
    found_relays,
    owner_of,
    run_key,
    subkey_of,
)
from psyche_p2p.wire import PeerRecord, RelayListing, Role, encode
from tests.net.real import identity_of

NOW_S = 1_700_000_000.0
CLOCK = ManualClock(int(NOW_S * 1000))
ALICE, EVE = identity_of("alice"), identity_of("eve")
CERTIFICATE = make_certificate(ALICE, int(NOW_S), int(NOW_S) + 86400)
RECORD = PeerRecord(
    instance=7,
    roles=(Role.TRAINER,),
    tier=Tier(0),
    addresses=("/ip4/127.0.0.1/tcp/4001", "/carrier-pigeon/7"),
    bulk_addresses=("127.0.0.1:4002",),
    certificate=CERTIFICATE.certificate_der,
    certificate_signature=CERTIFICATE.signature,
)


@dataclass(frozen=True)
class Entry:
    """What hivemind shows a validator."""

    key: bytes
    subkey: bytes
    value: bytes
    expiration_time: float


def packed(data: bytes) -> bytes:
    """A byte string as MessagePack writes it."""
    if len(data) < 256:
        return bytes([0xC4, len(data)]) + data
    return b"\xc5" + len(data).to_bytes(2, "big") + data


ALICES = RecordValidator(ALICE, CLOCK)
EVES = RecordValidator(EVE, CLOCK)
UNSIGNED = Entry(b"k" * 20, packed(subkey_of(ALICE.peer_id)), packed(encode(RECORD)), NOW_S + 300)
SIGNED = replace(UNSIGNED, value=ALICES.sign_value(UNSIGNED))


def test_a_peers_own_record_is_valid_to_everyone_and_comes_back_whole() -> None:
    assert EVES.validate(SIGNED)
    assert EVES.strip_value(SIGNED) == UNSIGNED.value
    assert owner_of(subkey_of(ALICE.peer_id)) == ALICE.peer_id


@pytest.mark.parametrize(
    "change",
    [
        {"key": b"other run's key....."},
        {"subkey": packed(subkey_of(EVE.peer_id))},
        {"expiration_time": NOW_S + 301},
        {"value": packed(encode(replace(RECORD, instance=8))) + SIGNED.value[-64:]},
        {"value": UNSIGNED.value},
        {"value": b""},
    ],
    ids=["key", "subkey", "expiry", "value", "unsigned", "empty"],
)
def test_the_signature_covers_everything(change: dict[str, bytes | float]) -> None:
    assert not EVES.validate(replace(SIGNED, **change))  # type: ignore[arg-type]


def test_nobody_writes_under_anothers_name() -> None:
    assert EVES.sign_value(UNSIGNED) == UNSIGNED.value
    own = EVES.sign_value(replace(UNSIGNED, subkey=packed(subkey_of(EVE.peer_id))))
    assert not ALICES.validate(replace(UNSIGNED, value=own))


@pytest.mark.parametrize(
    "subkey",
    [b"", packed(b""), b"\xc0", packed(b"plain"), packed(b"ed25519:" + bytes(32))],
    ids=["dictionary", "empty", "no subkey", "plain", "small order key"],
)
def test_keys_that_belong_to_nobody_cannot_be_written_at_all(subkey: bytes) -> None:
    entry = replace(UNSIGNED, subkey=subkey)
    assert not EVES.validate(replace(entry, value=ALICES.sign_value(entry)))


def test_another_spelling_of_a_subkey_is_refused() -> None:
    raw = subkey_of(ALICE.peer_id)
    entry = replace(UNSIGNED, subkey=b"\xc5" + len(raw).to_bytes(2, "big") + raw)
    assert not EVES.validate(replace(entry, value=ALICES.sign_value(entry)))


@pytest.mark.parametrize("life_s", [MAX_RECORD_LIFE_S + 10, float("inf"), float("nan")])
def test_an_expiry_in_the_far_future_is_refused(life_s: float) -> None:
    entry = replace(UNSIGNED, expiration_time=NOW_S + life_s)
    assert not EVES.validate(replace(entry, value=ALICES.sign_value(entry)))


@pytest.mark.parametrize(
    "value",
    [b"\xc4\x05abc", b"\x93\x01\x02", b"\xa3abc", packed(bytes(5000)), b"\xc1", b"\xc5\x00"],
    ids=["cut short", "a list", "text", "too large", "never used", "no length"],
)
def test_a_value_that_would_break_a_search_is_refused(value: bytes) -> None:
    entry = replace(UNSIGNED, value=value)
    assert not EVES.validate(replace(entry, value=ALICES.sign_value(entry)))


@given(st.binary(max_size=64), st.binary(max_size=200), st.floats())
def test_whatever_comes_is_refused_without_an_exception(
    subkey: bytes, value: bytes, expiry: float
) -> None:
    assert not EVES.validate(Entry(b"k" * 20, subkey, value, expiry))


def test_a_found_peer_has_the_addresses_we_can_use() -> None:
    found = found_peer(ALICE.peer_id, encode(RECORD), NOW_S)
    assert [str(address) for address in found.addresses] == ["/ip4/127.0.0.1/tcp/4001"]
    assert found.record == RECORD


def test_a_record_with_anothers_certificate_is_refused() -> None:
    with pytest.raises(RemoteError, match="certificate"):
        found_peer(EVE.peer_id, encode(RECORD), NOW_S)
    forged = replace(RECORD, certificate_signature=Signature(bytes(64)))
    with pytest.raises(RemoteError, match="certificate"):
        found_peer(ALICE.peer_id, encode(forged), NOW_S)
    with pytest.raises(RemoteError):
        found_peer(ALICE.peer_id, b"junk", NOW_S)


def test_every_run_has_its_own_key() -> None:
    assert run_key(RunId(b"a" * 32)) != run_key(RunId(b"b" * 32))


def test_a_relay_is_believed_only_about_itself() -> None:
    alices = f"relay/203.0.113.7:4002/{ALICE.peer_id}"
    listing = encode(RelayListing(alices))
    entries: dict[bytes, tuple[object, float]] = {
        subkey_of(ALICE.peer_id): (listing, NOW_S),
        subkey_of(EVE.peer_id): (listing, NOW_S),
    }
    assert found_relays(entries) == (alices,)
    for junk in (b"junk", 7, encode(RelayListing("203.0.113.7:4002"))):
        assert found_relays({subkey_of(ALICE.peer_id): (junk, NOW_S)}) == ()
