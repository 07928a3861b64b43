"""What may be written into the DHT: a peer's own record of a run, signed, small and short-lived.

hivemind asks a validator before it stores an entry and again before it believes one. Whatever the
validator does not understand is refused, because an unprotected key belongs to whoever writes it
last with the farthest expiry (docs/protocol.md, "Discovery").
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from psyche_p2p.certificate import is_certificate_of
from psyche_p2p.clock import Clock
from psyche_p2p.errors import ConfigError, RemoteError
from psyche_p2p.hashing import hash_parts
from psyche_p2p.identity import Identity, is_acceptable_key, verify
from psyche_p2p.ids import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    PeerId,
    PublicKey,
    RunId,
    peer_id_from_public_key,
    public_key_from_peer_id,
)
from psyche_p2p.net.multiaddr import Multiaddr, parse_multiaddr
from psyche_p2p.net.relay.address import parse_relay_address
from psyche_p2p.wire import PeerRecord, RelayListing, RunListing, decode, max_encoded_bytes

RECORD_CONTEXT = "dht-record"
MAX_RECORD_LIFE_S = 3600.0
CLOCK_TOLERANCE_S = 3.0
"""hivemind's own: peers whose clocks differ by more cannot share a DHT."""
_SUBKEY_PREFIX = b"ed25519:"
_SUBKEY_BYTES = len(_SUBKEY_PREFIX) + PUBLIC_KEY_BYTES
# hivemind shows subkeys and values as MessagePack wrote them: a type, a length, the bytes.
_PACKED_SUBKEY = bytes([0xC4, _SUBKEY_BYTES]) + _SUBKEY_PREFIX
_BIN8, _BIN16 = 0xC4, 0xC5


class DhtRecord(Protocol):
    """What hivemind hands to a validator."""

    @property
    def key(self) -> bytes: ...
    @property
    def subkey(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...
    @property
    def expiration_time(self) -> float: ...


def run_key(run_id: RunId) -> str:
    """The DHT key under which the peers of a run are found."""
    return f"psyche-p2p/v1/run/{run_id.hex()}"


RUNS_KEY = "psyche-p2p/v1/runs"
"""The DHT key under which every peer says which run it is in."""
RELAYS_KEY = "psyche-p2p/v1/relays"
"""The DHT key under which every relay says where it listens."""


def subkey_of(peer: PeerId) -> bytes:
    """The subkey that belongs to one peer."""
    return _SUBKEY_PREFIX + public_key_from_peer_id(peer)


def owner_of(subkey: bytes) -> PeerId | None:
    """The peer whose subkey this is."""
    key = subkey.removeprefix(_SUBKEY_PREFIX)
    if len(subkey) != _SUBKEY_BYTES or not is_acceptable_key(key):
        return None
    return peer_id_from_public_key(PublicKey(key))


@dataclass(frozen=True, slots=True)
class FoundPeer:
    """A peer of a run, as it describes itself; its signature and certificate are checked."""

    peer: PeerId
    record: PeerRecord
    addresses: tuple[Multiaddr, ...]
    """Those of its addresses that this peer can use."""
    expires_at_s: float


def found_peer(peer: PeerId, value: bytes, expires_at_s: float) -> FoundPeer:
    """What a peer wrote; RemoteError if it is no record or its certificate is another's."""
    record = decode(PeerRecord, value)
    certificate, signature = record.certificate, record.certificate_signature
    if certificate and not is_certificate_of(peer, certificate, signature):
        raise RemoteError("the certificate in the record is not the peer's")
    addresses = [usable for text in record.addresses if (usable := _address_or_none(text))]
    return FoundPeer(peer, record, tuple(addresses), expires_at_s)


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run that peers say they are in."""

    run_id: RunId
    name: str
    peers: int


def found_runs(values: Iterable[object]) -> tuple[FoundRun, ...]:
    """The runs in these listings, the most populous first; what is none is left out."""
    peers: Counter[tuple[RunId, str]] = Counter()
    for value in values:
        if not isinstance(value, bytes):
            continue
        with suppress(RemoteError):
            listing = decode(RunListing, value)
            peers[listing.run_id, listing.name] += 1
    return tuple(FoundRun(*key, count) for key, count in peers.most_common())


def found_relays(entries: Mapping[bytes, tuple[object, float]]) -> tuple[str, ...]:
    """The relays in these entries; what is none, or names another peer, is left out."""
    relays = []
    for subkey, (value, _) in entries.items():
        if isinstance(value, bytes):
            with suppress(RemoteError, ConfigError):
                address = parse_relay_address(decode(RelayListing, value).address)
                if address.peer == owner_of(subkey):
                    relays.append(str(address))
    return tuple(relays)


class RecordValidator:
    """The interface of hivemind's validators, without importing hivemind."""

    priority = 10

    def __init__(self, identity: Identity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock

    def validate(self, record: DhtRecord) -> bool:
        """Whether the owner of the subkey signed exactly this, and not for too long."""
        owner = self._owner(record)
        value, signature = record.value[:-SIGNATURE_BYTES], record.value[-SIGNATURE_BYTES:]
        if owner is None or not _is_packed_value(value):
            return False
        latest = self._clock.time_ms() / 1000 + MAX_RECORD_LIFE_S + CLOCK_TOLERANCE_S
        if not record.expiration_time <= latest:  # also refuses what is not a number
            return False
        return verify(owner, RECORD_CONTEXT, _signed_part(record, value), signature)

    def sign_value(self, record: DhtRecord) -> bytes:
        """Our own value with our signature behind it; anyone else's as it is."""
        if self._owner(record) != self._identity.peer_id:
            return record.value
        signed = _signed_part(record, record.value)
        return record.value + self._identity.sign(RECORD_CONTEXT, signed)

    def strip_value(self, record: DhtRecord) -> bytes:
        """A valid value without its signature."""
        return record.value[:-SIGNATURE_BYTES]

    def merge_with(self, _other: object) -> bool:
        """hivemind asks whether two validators can become one: this one stands alone."""
        return False

    def _owner(self, record: DhtRecord) -> PeerId | None:
        if not record.subkey.startswith(_PACKED_SUBKEY):
            return None
        return owner_of(record.subkey[2:])


def _signed_part(record: DhtRecord, value: bytes) -> bytes:
    expiry = struct.pack("<d", record.expiration_time)
    return hash_parts(RECORD_CONTEXT, record.key, record.subkey, value, expiry)


def _is_packed_value(value: bytes) -> bool:
    """Whether these are MessagePack's bytes of one byte string of a record's size.

    A value that hivemind cannot unpack would break every search that finds it.
    """
    if len(value) >= 2 and value[0] == _BIN8:
        return len(value) - 2 == value[1]
    if len(value) >= 3 and value[0] == _BIN16:
        size = int.from_bytes(value[1:3], "big")
        return len(value) - 3 == size <= max_encoded_bytes(PeerRecord)
    return False


def _address_or_none(text: str) -> Multiaddr | None:
    try:
        return parse_multiaddr(text)
    except ValueError:
        return None
