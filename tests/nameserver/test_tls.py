"""DNS over TLS: the certificate, what is spoken, and handshakes that never end."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mx10.config import NameserverSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import make_query, parse
from mx10.dns.wirename import from_text
from mx10.nameserver.listeners import Listeners, bind_stream, serve_on
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from mx10.nameserver.tls import TlsError, TlsSockets, load_certificate, make_context
from tests.nameserver.test_transfers import APEX, a, a_zone


def write_certificate(folder: Path, name: str, password: bytes | None = None) -> tuple[Path, Path]:
    """A certificate signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    pem = serialization.Encoding.PEM
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    return paths


def settings_of(folder: Path, **more: float) -> NameserverSettings:
    certificate, key = write_certificate(folder, "one.test")
    return NameserverSettings(tls_certificate=certificate, tls_key=key, **more)  # type: ignore[arg-type]


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"need nameserver\.tls_certificate"):
        make_context(NameserverSettings())
    settings = settings_of(tmp_path)
    context = make_context(settings)
    _, key = settings.tls_certificate, settings.tls_key
    assert key is not None
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = write_certificate(other, "two.test")
    key.write_bytes(other_key.read_bytes())
    with pytest.raises(TlsError, match="no certificate"):
        load_certificate(context, settings)
    key.write_text("no key at all")
    with pytest.raises(TlsError, match="no certificate"):
        load_certificate(context, settings)
    write_certificate(tmp_path, "one.test", b"secret")
    with pytest.raises(TlsError, match="without a passphrase"):
        load_certificate(context, settings)
    key.unlink()
    with pytest.raises(TlsError, match=r"key\.pem cannot be read"):
        load_certificate(context, settings)


class Serving:
    """A listener for TLS."""

    def __init__(self, listeners: Listeners, port: int, context: ssl.SSLContext, settings: NameserverSettings) -> None:
        self.listeners = listeners
        self.port = port
        self.context = context
        self.settings = settings

    async def ask(self, name: str, **how: object) -> ssl.SSLObject:
        """Ask one question, and see that it is answered; what was spoken."""
        trusting = ssl.create_default_context(cafile=str(self.settings.tls_certificate))
        trusting.set_alpn_protocols(["dot"])
        for key, value in how.items():
            setattr(trusting, key, value)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=trusting, server_hostname=name)
        query = make_query(from_text("www.one.example."), rr.A, id=5)
        writer.write((struct.pack("!H", len(query)) + query) * 2)
        for _ in range(2):
            size = int.from_bytes(await reader.readexactly(2), "big")
            assert parse(await reader.readexactly(size)).answer[0].rdata[-1] == 7
        spoken = writer.get_extra_info("ssl_object")
        assert isinstance(spoken, ssl.SSLObject)
        writer.close()
        return spoken


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    settings = settings_of(tmp_path, tcp_connections_per_client=3, tcp_idle_seconds=0.5)
    context = make_context(settings)
    sock = bind_stream(("127.0.0.1", 0))
    responder = Responder(ZoneTable({APEX: a_zone(www=a(7)).pack()}), settings)
    listeners = await serve_on(responder, [], settings, TlsSockets([sock], context))
    yield Serving(listeners, sock.getsockname()[1], context, settings)
    listeners.close()


async def test_who_asks_for_padding_gets_it(serving: Serving) -> None:
    """RFC 7830 section 4, RFC 8467 section 4.1."""
    trusting = ssl.create_default_context(cafile=str(serving.settings.tls_certificate))
    reader, writer = await asyncio.open_connection("127.0.0.1", serving.port, ssl=trusting, server_hostname="one.test")
    for options, block in (((12, b""),), 468), ((), 1):
        query = make_query(from_text("www.one.example."), rr.A, id=5, options=options)
        writer.write(struct.pack("!H", len(query)) + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        assert parse(await reader.readexactly(size)).answer
        assert size % block == 0
        assert (size >= 468) is bool(options)
    writer.close()


async def test_questions(serving: Serving) -> None:
    spoken = await serving.ask("one.test")
    assert (spoken.version(), spoken.selected_alpn_protocol()) == ("TLSv1.3", "dot")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await serving.ask("one.test", maximum_version=ssl.TLSVersion.TLSv1_2)


async def test_a_new_certificate(serving: Serving, tmp_path: Path) -> None:
    await serving.ask("one.test")
    write_certificate(tmp_path, "two.test")
    load_certificate(serving.context, serving.settings)
    await serving.ask("two.test")


async def test_handshakes_that_never_end(serving: Serving) -> None:
    """They hold as many places as connections may, and not for long."""
    silent = [socket.create_connection(("127.0.0.1", serving.port)) for _ in range(3)]
    await asyncio.sleep(0.05)
    more = socket.create_connection(("127.0.0.1", serving.port))
    more.setblocking(False)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(5):
        # One too many is closed at once; the others when their time is over.
        assert await _ended(loop, more)
        for each in silent:
            each.setblocking(False)
            assert await _ended(loop, each)
    await serving.ask("one.test")
    garbage = socket.create_connection(("127.0.0.1", serving.port))
    garbage.setblocking(False)
    await loop.sock_sendall(garbage, b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(5):
        assert await _ended(loop, garbage)
    await serving.ask("one.test")


async def _ended(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bool:
    """Read to the end; whether it came."""
    with sock:
        try:
            while await loop.sock_recv(sock, 1000):
                pass
        except ConnectionError:
            pass
    return True
