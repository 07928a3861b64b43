"""One mirror over TLS: trusted certificates only, and the same deadlines."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from psyche_p2p.data import web
from psyche_p2p.data.web import Mirror, MirrorFailed
from tests.data.web_server import Request, WebServer

DATA = bytes(range(256)) * 8


def write_certificate(path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mirror")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path / "mirror.pem")


@pytest.fixture
def server(tmp_path: Path, certificate: Path) -> Iterator[WebServer]:
    (tmp_path / "a.bin").write_bytes(DATA)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = WebServer(tmp_path, tls=context)
    yield server
    server.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(server: WebServer) -> None:
    mirror = Mirror(server.address)
    with pytest.raises(MirrorFailed, match="certificate verify failed"):
        mirror.get_range("a.bin", 0, 10, len(DATA))
    assert server.asked == []
    mirror.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_trusted_certificate_is_for_one_host(
    server: WebServer, certificate: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(web, "_trusted", lambda: context)
    mirror = Mirror(server.address.replace("127.0.0.1", host))
    if host == "localhost":
        with pytest.raises(MirrorFailed, match=r"certificate verify failed|refused"):
            mirror.get_range("a.bin", 0, 10, len(DATA))
    else:
        for start in (0, 100, 1000):
            assert mirror.get_range("a.bin", start, 10, len(DATA)) == DATA[start : start + 10]
        assert mirror.get_file("a.bin", 1 << 20) == DATA
    mirror.close()


def test_a_way_back_to_http_is_not_taken(
    server: WebServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(web, "_trusted", lambda: context)

    def downgrade(request: Request) -> None:
        request.answer(b"", 301, Location="http://127.0.0.1:9/a.bin")

    server.behaviour = downgrade
    mirror = Mirror(server.address)
    with pytest.raises(MirrorFailed, match=r"it redirects to http://127\.0") as caught:
        mirror.get_range("a.bin", 0, 10, len(DATA))
    assert caught.value.is_lasting
    mirror.close()


def test_a_slow_server_meets_the_deadline_over_tls_too(
    server: WebServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(web, "_trusted", lambda: context)
    server.behaviour = lambda request: request.send_slowly(request.part)
    mirror = Mirror(server.address, answer_s=0.5)
    with pytest.raises(MirrorFailed, match=r"no whole answer within 0\.5 s|timed out") as caught:
        mirror.get_range("a.bin", 0, 10, len(DATA))
    assert not caught.value.is_lasting
    mirror.close()
