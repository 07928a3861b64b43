"""TLS certificates: a function of the identity, bound to it, and to nobody else."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from psyche_p2p.certificate import (
    TlsCertificate,
    certificate_fingerprint,
    is_certificate_of,
    make_certificate,
)
from psyche_p2p.identity import Identity
from tests import strategies as our

ALICE, BOB = Identity.from_seed(b"a" * 32), Identity.from_seed(b"b" * 32)
FROM_S, UNTIL_S = 1_767_225_600, 1_798_761_600


@pytest.fixture(scope="module")
def alices() -> TlsCertificate:
    return make_certificate(ALICE, FROM_S, UNTIL_S)


def test_the_same_span_gives_the_same_certificate(alices: TlsCertificate) -> None:
    assert make_certificate(ALICE, FROM_S, UNTIL_S) == alices
    assert make_certificate(ALICE, FROM_S, UNTIL_S + 1).fingerprint != alices.fingerprint


def test_its_only_name_is_the_peer_id(alices: TlsCertificate) -> None:
    certificate = x509.load_der_x509_certificate(alices.certificate_der)
    assert [name.value for name in certificate.subject] == [ALICE.peer_id]
    assert certificate.not_valid_before_utc.timestamp() == FROM_S
    assert certificate.not_valid_after_utc.timestamp() == UNTIL_S


def test_it_is_its_owners_alone(alices: TlsCertificate) -> None:
    der, signature = alices.certificate_der, alices.signature
    assert is_certificate_of(ALICE.peer_id, der, signature)
    assert not is_certificate_of(BOB.peer_id, der, signature)
    vouched_by_bob = BOB.sign("tls-certificate", alices.fingerprint)
    assert not is_certificate_of(BOB.peer_id, der, vouched_by_bob)


@given(st.integers(0, 250), st.integers(1, 255))
def test_a_changed_byte_is_refused(at: int, change: int) -> None:
    alices = make_certificate(ALICE, FROM_S, UNTIL_S)
    der = bytearray(alices.certificate_der)
    der[at] ^= change
    assert not is_certificate_of(ALICE.peer_id, bytes(der), alices.signature)
    vouched = ALICE.sign("tls-certificate", b"?" * 32)
    assert not is_certificate_of(ALICE.peer_id, bytes(der), vouched)


@given(st.binary(max_size=300), our.signatures)
def test_random_bytes_are_no_certificate(der: bytes, signature: bytes) -> None:
    assert not is_certificate_of(ALICE.peer_id, der, signature)


def test_junk_that_its_owner_signed_is_no_certificate() -> None:
    junk = b"not a certificate"
    signature = ALICE.sign("tls-certificate", certificate_fingerprint(junk))
    assert not is_certificate_of(ALICE.peer_id, junk, signature)


def test_tls_accepts_the_pair(alices: TlsCertificate, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_bytes(alices.certificate_pem)
    (tmp_path / "key.pem").write_bytes(alices.private_key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(tmp_path / "cert.pem")
    assert _handshake(context, client) == ALICE.peer_id


def test_another_certificate_is_not_trusted(alices: TlsCertificate, tmp_path: Path) -> None:
    bobs = make_certificate(BOB, FROM_S, UNTIL_S)
    (tmp_path / "cert.pem").write_bytes(bobs.certificate_pem)
    (tmp_path / "key.pem").write_bytes(bobs.private_key_pem)
    (tmp_path / "alice.pem").write_bytes(alices.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(tmp_path / "alice.pem")
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(context, client)


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """A TLS handshake in memory; the name of the server as the client verified it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="peer"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    der = ends[0].getpeercert(binary_form=True)
    assert der is not None
    return ", ".join(str(name.value) for name in x509.load_der_x509_certificate(der).subject)
