"""The TLS certificate of the bulk plane, bound to the identity that owns it.

gRPC's TLS library refuses Ed25519 certificates, so a peer shows a self-signed P-256 certificate
whose only name is its PeerId, and its identity signs that certificate's fingerprint. Key and
certificate are derived from the identity's seed: the same after a restart, as long as the validity
is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from psyche_p2p.hashing import hash_bytes, hash_parts
from psyche_p2p.identity import Identity, verify
from psyche_p2p.ids import PeerId, Signature

TLS_SERVER_NAME = "peer"
FINGERPRINT_CONTEXT = "tls-certificate"
# The order of P-256. A secret 64 bits longer than it, reduced, is unbiased (FIPS 186-5 A.2).
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_WIDE_SECRET_BYTES = 40


@dataclass(frozen=True)
class TlsCertificate:
    """A certificate, its private key, and the identity's word that it is its own."""

    certificate_der: bytes
    certificate_pem: bytes
    private_key_pem: bytes = field(repr=False)
    fingerprint: bytes
    signature: Signature


def make_certificate(identity: Identity, not_before_s: int, not_after_s: int) -> TlsCertificate:
    """The identity's certificate for a span of Unix time: the same bytes for the same span."""
    secret = int.from_bytes(identity.derive_secret("tls-key", _WIDE_SECRET_BYTES), "big")
    private_key = ec.derive_private_key(secret % (_P256_ORDER - 1) + 1, ec.SECP256R1())
    certificate = _self_signed(identity.peer_id, private_key, not_before_s, not_after_s)
    der = certificate.public_bytes(Encoding.DER)
    fingerprint = certificate_fingerprint(der)
    return TlsCertificate(
        certificate_der=der,
        certificate_pem=certificate.public_bytes(Encoding.PEM),
        private_key_pem=private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
        fingerprint=fingerprint,
        signature=identity.sign(FINGERPRINT_CONTEXT, fingerprint),
    )


def certificate_fingerprint(certificate_der: bytes) -> bytes:
    """What the identity signs and the membership records: BLAKE3 of the DER form."""
    return hash_bytes(certificate_der)


def is_certificate_of(peer: PeerId, certificate_der: bytes, signature: bytes) -> bool:
    """Whether this peer vouched for this certificate, and the certificate names this peer alone."""
    fingerprint = certificate_fingerprint(certificate_der)
    if not verify(peer, FINGERPRINT_CONTEXT, fingerprint, signature):
        return False
    try:
        subject = x509.load_der_x509_certificate(certificate_der).subject
    except ValueError:
        return False
    names = [attribute.value for attribute in subject]
    return names == [peer] and len(subject.get_attributes_for_oid(NameOID.COMMON_NAME)) == 1


def _self_signed(
    peer: PeerId, private_key: ec.EllipticCurvePrivateKey, not_before_s: int, not_after_s: int
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, peer)])
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(_serial_number(peer, not_before_s, not_after_s))
        .not_valid_before(epoch + timedelta(seconds=not_before_s))
        .not_valid_after(epoch + timedelta(seconds=not_after_s))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(TLS_SERVER_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    )
    # RFC 6979 nonces: the certificate, and so its fingerprint, is a function of its arguments.
    return builder.sign(private_key, SHA256(), ecdsa_deterministic=True)


def _serial_number(peer: PeerId, not_before_s: int, not_after_s: int) -> int:
    """Another validity is another certificate, and so needs another number."""
    validity = f"{not_before_s} {not_after_s}".encode()
    return int.from_bytes(hash_parts("certificate-serial", peer.encode(), validity)[:16], "big") | 1
