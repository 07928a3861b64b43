"""Who may speak on the bulk plane: certificates pinned to identities, and the TLS made of them.

A member trusts the certificates of the current members and no authority. A channel that is open
outlives that list and a trusted certificate could sign another, so every call is checked once more,
by the fingerprint its channel was opened with.

gRPC could read the list anew at every handshake (`dynamic_ssl_server_credentials`), but frees what
another handshake is still using (github.com/grpc/grpc/issues/36693): a thousand connections opened
at once killed the process. So when the list changes, the server changes: `BulkServer.renew`.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from cryptography import x509

from psyche_p2p.certificate import (
    TLS_SERVER_NAME,
    TlsCertificate,
    certificate_fingerprint,
    is_certificate_of,
)
from psyche_p2p.clock import Clock
from psyche_p2p.errors import RemoteError
from psyche_p2p.ids import PeerId, short_id

MAX_CERTIFICATE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PinnedCertificate:
    """A certificate whose owner vouched for it."""

    peer: PeerId
    pem: bytes
    fingerprint: bytes
    not_before_ms: int
    not_after_ms: int

    def is_valid_at(self, time_ms: int) -> bool:
        return self.not_before_ms <= time_ms <= self.not_after_ms


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One state of the trust, swapped whole: gRPC's threads read while the node writes."""

    members: dict[bytes, PinnedCertificate]
    roots_pem: bytes


class MemberTrust:
    """The members whose certificates are trusted now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._snapshot = _Snapshot({}, b"")

    def replace(self, members: Iterable[PinnedCertificate]) -> None:
        """Trust these and nobody else, from the next handshake and the next call on."""
        by_fingerprint = {member.fingerprint: member for member in members}
        roots = b"".join(member.pem for member in by_fingerprint.values())
        self._snapshot = _Snapshot(by_fingerprint, roots)

    def roots_pem(self) -> bytes:
        """What the next handshake accepts."""
        return self._snapshot.roots_pem

    def find_member(self, fingerprint: bytes) -> PeerId | None:
        """The member with this certificate; None if it is nobody's, or not valid now."""
        member = self._snapshot.members.get(fingerprint)
        if member is None or not member.is_valid_at(self._clock.time_ms()):
            return None
        return member.peer


def pin_certificate(peer: PeerId, certificate_der: bytes, signature: bytes) -> PinnedCertificate:
    """The certificate a peer published; a RemoteError if the peer did not vouch for it."""
    if len(certificate_der) > MAX_CERTIFICATE_BYTES or not is_certificate_of(
        peer, certificate_der, signature
    ):
        raise RemoteError(f"this is not a certificate of peer {short_id(peer)}")
    certificate = x509.load_der_x509_certificate(certificate_der)
    return PinnedCertificate(
        peer=peer,
        pem=ssl.DER_cert_to_PEM_cert(certificate_der).encode(),
        fingerprint=certificate_fingerprint(certificate_der),
        not_before_ms=int(certificate.not_valid_before_utc.timestamp() * 1000),
        not_after_ms=int(certificate.not_valid_after_utc.timestamp() * 1000),
    )


def pem_fingerprint(pem: bytes) -> bytes:
    """The fingerprint of a certificate as gRPC shows it."""
    return certificate_fingerprint(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")))


def member_server_credentials(own: TlsCertificate, trust: MemberTrust) -> grpc.ServerCredentials:
    """TLS that asks for the certificate of one who is a member at this moment."""
    # With no members yet: our own, because an empty list is refused by the library.
    roots = trust.roots_pem() or own.certificate_pem
    pair = (own.private_key_pem, own.certificate_pem)
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=True)


def joiner_server_credentials(own: TlsCertificate) -> grpc.ServerCredentials:
    """TLS that proves who the server is and asks nothing of the caller."""
    return grpc.ssl_server_credentials([(own.private_key_pem, own.certificate_pem)])


def channel_credentials(
    server: PinnedCertificate, own: TlsCertificate | None
) -> grpc.ChannelCredentials:
    """TLS to exactly this server, showing our certificate if we have one to show."""
    if own is None:
        return grpc.ssl_channel_credentials(server.pem)
    return grpc.ssl_channel_credentials(server.pem, own.private_key_pem, own.certificate_pem)


CHANNEL_TLS_OPTIONS = (("grpc.ssl_target_name_override", TLS_SERVER_NAME),)
