"""Connections to hosts that behave, and to hosts that do not, over loopback."""

import asyncio
import contextlib
import datetime
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mx10.relay.courier.connection import LinkOptions, Links, SmtpLink, read_credentials
from mx10.relay.courier.values import (
    Addressee,
    Answered,
    ConnectionTrouble,
    Letter,
    Stage,
    Step,
    StepKind,
    Target,
    TlsPolicy,
    Trouble,
)
from mx10.relay.courier.wire import Timeouts
from mx10.smtp.auth import Credentials
from tests.relay.talker import CLOSE, DRIP, ENDLESS_LINE, ENDLESS_REPLY, OFFERS, RESET, STALL, Talker, until

SHORT = Timeouts().at_most(1.0)
"""Long enough for an honest reply on a busy machine; tests that wait for it do so all at once."""
ME = LinkOptions("client.test", Timeouts().at_most(5.0))
IMPATIENT = LinkOptions("client.test", SHORT)
BOB, CAT = Addressee("bob@two.test"), Addressee("cat@two.test")


@dataclass
class Content:
    """Octets in memory, given some at a time."""

    data: bytes
    size: int = 0

    def __post_init__(self) -> None:
        self.size = len(self.data)

    async def chunks(self) -> AsyncIterator[bytes]:
        for at in range(0, len(self.data), 65536):
            yield self.data[at : at + 65536]


def letter(data: bytes = b"Subject: x\r\n\r\n.x\r\n") -> Letter:
    return Letter("AAAAAAAAAAAAA", "ann@one.test", Content(data))


def target_of(host: Talker, name: str = "talker.test") -> Target:
    return Target(name, ip_address(host.address).packed, host.port, implicit_tls=host.implicit)


@contextlib.asynccontextmanager
async def opened(
    host: Talker, options: LinkOptions = ME, policy: TlsPolicy = TlsPolicy.OPPORTUNISTIC, name: str = "talker.test"
) -> AsyncIterator[tuple[SmtpLink, list[Step]]]:
    steps: list[Step] = []
    links = Links(options)
    link = await links(target_of(host, name), policy, steps.append)
    try:
        yield link, steps
    finally:
        link.abort()
        await links.close()
        await asyncio.sleep(0)


async def trouble(
    host: Talker, options: LinkOptions = ME, policy: TlsPolicy = TlsPolicy.OPPORTUNISTIC, name: str = "talker.test"
) -> ConnectionTrouble:
    with pytest.raises(ConnectionTrouble) as caught:
        async with opened(host, options, policy, name):
            pass
    await asyncio.sleep(0)
    return caught.value


async def one(host: Talker, options: LinkOptions = ME, what: Letter | None = None) -> Answered:
    async with opened(host, options) as (link, _):
        (answered,) = await link.send(what or letter(), (BOB,))
        return answered


# ---------------------------------------------------------------- what goes well


@pytest.mark.parametrize("offers", [OFFERS, (), (*OFFERS, "CHUNKING")])
async def test_messages_over_one_connection(offers: tuple[str, ...]) -> None:
    async with Talker(offers=offers).listening() as host, opened(host) as (link, steps):
        for content in (
            b"a\r\n",
            b"..\r\n.\r\n",
            b"x" * 70_000 + b"\r\n",
            b"y" * 998 + b"\r\n" + b".\r\n" * 50_000 + b"z" * 400_000 + b"\r\n",
        ):
            if len(content) > 500_000 and "SIZE 1000000" not in offers:
                continue
            answers = await link.send(letter(content), (BOB, CAT))
            assert [(each.stage, each.reply.code) for each in answers if each.reply] == [(Stage.FINAL, 250)] * 2
            assert host.messages[-1] == content or "CHUNKING" in offers
        assert link.name == "talker.test"
        assert host.connections == 1
        await link.release(keep=False)
    shown = [step.text for step in steps if step.kind is StepKind.COMMAND]
    assert shown[0] == "EHLO client.test"
    assert shown[1].startswith("MAIL FROM:<ann@one.test>")
    assert "DATA" in shown or "BDAT 3 LAST" in shown
    assert steps[0].reply is not None
    assert steps[0].reply.code == 220
    assert host.heard[-1] == "QUIT"


async def test_a_large_message_goes_in_chunks() -> None:
    content = b"0123456789abcde\r\n" * 60_000
    async with Talker(offers=("CHUNKING", "PIPELINING", "8BITMIME")).listening() as host, opened(host) as (link, _):
        (answered,) = await link.send(letter(content), (BOB,))
        assert answered.reply is not None
        assert answered.reply.code == 250
    assert b"".join(host.messages) == content
    assert len(host.messages) > 10


async def test_connections_wait_for_another_message() -> None:
    async with Talker().listening() as host:
        links = Links(ME)
        target = target_of(host)
        for _ in range(3):
            link = await links(target, TlsPolicy.OPPORTUNISTIC, lambda _step: None)
            await link.send(letter(), (BOB,))
            await link.release(keep=True)
            assert links.idle == 1
        assert host.connections == 1
        # A dry run or another policy is another connection.
        other = await links(target, TlsPolicy.NEVER, lambda _step: None)
        assert host.connections == 2
        await other.release(keep=False)
        await links.close()
        assert links.idle == 0
        assert host.heard.count("QUIT") == 2


async def test_a_waiting_connection_that_the_host_closes_is_forgotten() -> None:
    async with Talker({"RSET": CLOSE}).listening() as host:
        links = Links(ME)
        link = await links(target_of(host), TlsPolicy.OPPORTUNISTIC, lambda _step: None)
        await link.release(keep=True)
        link._wire._transport.write(b"RSET\r\n")  # type: ignore[union-attr]  # so that the host has cause to
        await until(lambda: not links.idle)
        again = await links(target_of(host), TlsPolicy.OPPORTUNISTIC, lambda _step: None)
        assert host.connections == 2
        again.abort()
        await asyncio.sleep(0)


async def test_a_waiting_connection_is_closed_after_its_time() -> None:
    async with Talker().listening() as host:
        links = Links(replace(ME, idle=0.02))
        link = await links(target_of(host), TlsPolicy.OPPORTUNISTIC, lambda _step: None)
        await link.release(keep=True)
        await until(lambda: not host.open)
        assert (links.idle, host.heard[-1]) == (0, "QUIT")
        await links.close()


async def test_the_local_address_is_ours_to_choose() -> None:
    options = replace(ME, local_addresses=("::1", "127.0.0.9"))
    async with Talker().listening() as host, opened(host, options):
        assert host.clients == ["127.0.0.9"]
        wrong = replace(ME, local_addresses=("192.0.2.77",))
        assert (await trouble(host, wrong)).trouble is Trouble.OURS


async def test_limits_of_the_host() -> None:
    offers = ("LIMITS MAILMAX=1 RCPTMAX=2 RCPTDOMAINMAX=3",)
    async with Talker(offers=offers).listening() as host, opened(host) as (link, _):
        assert (link.limit, link.domains) == (2, 3)
        await link.send(letter(), (BOB,))
        assert not link.usable
        (answered,) = await link.send(letter(), (BOB,))
        assert answered.trouble is Trouble.RESET


async def test_a_trial_sends_nothing() -> None:
    options = replace(ME, dry_run=True)
    async with Talker().listening() as host, opened(host, options) as (link, _):
        (answered,) = await link.send(letter(), (BOB,))
        assert answered.stage is Stage.FINAL
        await link.release(keep=False)
    assert [each.partition(" ")[0] for each in host.heard] == ["EHLO", "MAIL", "RCPT", "QUIT"]
    assert host.messages == []


async def test_lmtp_over_a_unix_socket(tmp_path: Path) -> None:
    """RFC 2033: LHLO, and a reply for each recipient."""
    path = str(tmp_path / "lmtp")
    says = {"END": b"250 2.0.0 taken\r\n452 4.2.2 full\r\n"}
    async with Talker(says, path=path).listening() as host:
        steps: list[Step] = []
        target = Target("local", b"", lmtp=True, socket=path)
        link = await Links(ME)(target, TlsPolicy.NEVER, steps.append)
        answers = await link.send(letter(), (BOB, CAT))
        assert [(each.stage, each.reply.code) for each in answers if each.reply] == [
            (Stage.FINAL, 250),
            (Stage.FINAL, 452),
        ]
        await link.release(keep=False)
    assert host.heard[0] == "LHLO client.test"
    assert steps[-1].text.startswith("221")


# ---------------------------------------------------------------- TLS


def contexts(folder: Path, name: str = "talker.test", *, expired: bool = False) -> tuple[ssl.SSLContext, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    until = now + datetime.timedelta(days=-1 if expired else 1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("policy", [TlsPolicy.OPPORTUNISTIC, TlsPolicy.ENCRYPTED, TlsPolicy.VERIFIED])
async def test_tls(tmp_path: Path, policy: TlsPolicy, version: ssl.TLSVersion, implicit: bool) -> None:
    context, authority = contexts(tmp_path)
    context.minimum_version = context.maximum_version = version
    options = replace(ME, ca_file=authority)
    async with (
        Talker(context=context, implicit=implicit, offers=(*OFFERS, "REQUIRETLS")).listening() as host,
        opened(host, options, policy) as (link, steps),
    ):
        assert link.tls.startswith("TLSv1.2" if version is ssl.TLSVersion.TLSv1_2 else "TLSv1.3")
        assert link.tls.endswith("verified") is (policy is TlsPolicy.VERIFIED)
        assert "STARTTLS" not in link.extensions
        required = replace(letter(), requiretls=True)
        (answered,) = await link.send(required, (BOB,))
        assert (answered.enhanced == "") is (policy is TlsPolicy.VERIFIED)
        await link.release(keep=False)
    assert any(step.kind is StepKind.TLS and "certificate" in step.text for step in steps)
    assert host.heard[-1] == "QUIT"


@pytest.mark.parametrize(
    ("name", "expired", "words"),
    [("other.test", False, "Hostname mismatch"), ("talker.test", True, "expired"), ("talker.test", None, "self")],
)
async def test_certificates_that_are_not_good(tmp_path: Path, name: str, expired: bool | None, words: str) -> None:
    context, authority = contexts(tmp_path, name, expired=bool(expired))
    async with Talker(context=context).listening() as host:
        options = ME if expired is None else replace(ME, ca_file=authority)
        found = await trouble(host, options, TlsPolicy.VERIFIED)
        assert (found.stage, found.trouble) == (Stage.TLS, Trouble.TLS)
        assert words in found.detail
        # Any certificate is better than none (RFC 7435).
        async with opened(host, options) as (link, _):
            assert link.tls


async def test_no_tls_where_it_is_required() -> None:
    async with Talker().listening() as host:
        found = await trouble(host, policy=TlsPolicy.ENCRYPTED)
        assert (found.stage, found.trouble) == (Stage.TLS, Trouble.TLS)
        assert "does not offer it" in found.detail
    assert [each.partition(" ")[0] for each in host.heard] == ["EHLO"]


async def test_tls_that_is_too_old(tmp_path: Path) -> None:
    context, _ = contexts(tmp_path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with Talker(context=context).listening() as host:
        assert (await trouble(host)).stage is Stage.TLS


@pytest.mark.parametrize("reply", [b"454 4.7.0 not now\r\n", b"501 no\r\n"])
async def test_tls_that_is_offered_and_refused(reply: bytes, tmp_path: Path) -> None:
    context, _ = contexts(tmp_path)

    class Refusing(Talker):
        async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ssl.SSLError):
                await super()._talk(reader, writer)

    async with Refusing({"STARTTLS": reply}, context=context).listening() as host:
        found = await trouble(host, policy=TlsPolicy.ENCRYPTED)
        assert found.reply is not None
        assert (found.stage, found.reply.code) == (Stage.TLS, int(reply[:3]))


async def test_what_comes_in_the_clear_behind_starttls_is_not_believed() -> None:
    """CVE-2011-0411, with the server's part injected: the session would believe it after the handshake."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hi\r\n")
        await reader.readline()
        writer.write(b"250-hi\r\n250 STARTTLS\r\n")
        await reader.readline()
        writer.write(b"220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n")
        await reader.read(100)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host = Talker(port=server.sockets[0].getsockname()[1])
        found = await trouble(host)
        assert found.stage is Stage.TLS
    await asyncio.sleep(0)


# ---------------------------------------------------------------- AUTH


async def test_logging_in(tmp_path: Path) -> None:
    context, _ = contexts(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("ann\nopen sesame\n")
    with pytest.raises(ValueError, match="everybody may read it: chmod 640"):
        read_credentials(secret)
    secret.chmod(0o600)
    assert read_credentials(secret) == Credentials("ann", "open sesame")
    says = {"AUTH": b"235 2.7.0 welcome\r\n"}
    async with Talker(says, context=context, offers=("AUTH PLAIN",)).listening() as host:
        steps: list[Step] = []
        target = replace(target_of(host), credentials=secret)
        link = await Links(ME)(target, TlsPolicy.ENCRYPTED, steps.append)
        assert host.heard[-1] == "AUTH PLAIN AGFubgBvcGVuIHNlc2FtZQ=="
        assert any(step.text == "AUTH PLAIN" for step in steps)
        assert not any("AGFubg" in step.text for step in steps)
        await link.release(keep=False)
        options = replace(ME, credentials=Credentials("ann", "open sesame"))
        # Without TLS the password stays here.
        found = await trouble(host, options, TlsPolicy.NEVER)
        assert (found.stage, found.trouble) == (Stage.AUTH, Trouble.UNABLE)
    assert not any(each.startswith("AUTH") for each in host.heard[-1:])


@pytest.mark.parametrize("text", ["", "one line\n", "a\nb\nc\n", "a\n\n", "x" * 5000, "\udcff"])
async def test_credentials_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(text.encode("utf-8", "surrogateescape"))
    secret.chmod(0o600)
    with pytest.raises(ValueError, match="secret"):
        read_credentials(secret)
    target = Target("x", b"\x7f\0\0\1", 1, credentials=secret)
    with pytest.raises(ConnectionTrouble) as caught:
        await Links(ME)(target, TlsPolicy.NEVER, lambda _step: None)
    assert caught.value.trouble is Trouble.OURS
    await asyncio.sleep(0)


# ---------------------------------------------------------------- what goes wrong

BEFORE = {"GREETING": Stage.GREETING, "EHLO": Stage.HELLO}
WITHIN = {"MAIL": Stage.MAIL, "RCPT": Stage.RCPT, "DATA": Stage.DATA, "END": Stage.FINAL}
TROUBLES = {
    STALL: Trouble.TIMEOUT,
    DRIP: Trouble.TIMEOUT,
    CLOSE: Trouble.RESET,
    RESET: Trouble.RESET,
    ENDLESS_LINE: Trouble.GARBAGE,
    ENDLESS_REPLY: Trouble.GARBAGE,
    b"what?\r\n": Trouble.GARBAGE,
    b"250-a\r\n550 b\r\n": Trouble.GARBAGE,
    b"\xff\x00\xff\r\n": Trouble.GARBAGE,
    b"999 a\r\n": Trouble.GARBAGE,
}


SILENT = [each for each in TROUBLES if TROUBLES[each] is Trouble.TIMEOUT]
LOUD = [each for each in TROUBLES if each not in SILENT]


async def _before(when: str, what: bytes, options: LinkOptions) -> None:
    async with Talker({when: what}).listening() as host:
        found = await trouble(host, options)
        assert (found.stage, found.trouble) == (BEFORE[when], TROUBLES[what])
        assert found.detail


async def _within(when: str, what: bytes, offers: tuple[str, ...], options: LinkOptions) -> None:
    async with Talker({when: what}, offers=offers).listening() as host:
        answered = await one(host, options)
        # A bad line and the replies before it, pipelined, may come as one piece; then the first of them gets the blame.
        stages = {WITHIN[when]} if not offers or TROUBLES[what] is not Trouble.GARBAGE else set(WITHIN.values())
        assert answered.stage in stages
        assert answered.trouble is TROUBLES[what]
        if when == "END" and answered.stage is Stage.FINAL:
            assert "may have arrived" in answered.detail


async def test_hosts_that_are_silent_or_never_done() -> None:
    before = [_before(when, what, IMPATIENT) for when in BEFORE for what in SILENT]
    within = [_within(when, what, offers, IMPATIENT) for when in WITHIN for what in SILENT for offers in (OFFERS, ())]
    await asyncio.gather(*before, *within)


@pytest.mark.parametrize("what", LOUD)
@pytest.mark.parametrize("when", BEFORE)
async def test_trouble_before_the_first_message(when: str, what: bytes) -> None:
    await _before(when, what, ME)


@pytest.mark.parametrize("what", LOUD)
@pytest.mark.parametrize("when", WITHIN)
@pytest.mark.parametrize("offers", [OFFERS, ()])
async def test_trouble_within_a_message(when: str, what: bytes, offers: tuple[str, ...]) -> None:
    await _within(when, what, offers, ME)


@pytest.mark.parametrize("when", [*BEFORE, *WITHIN])
@pytest.mark.parametrize("code", [421, 451, 550, 554])
async def test_refusals_at_every_stage(when: str, code: int) -> None:
    async with Talker({when: b"%d 4.3.0 no\r\n" % code}).listening() as host:
        if when in BEFORE and not (when == "EHLO" and code >= 500):
            found = await trouble(host)
            assert found.reply is not None
            assert (found.stage, found.reply.code, found.trouble) == (BEFORE[when], code, None)
            return
        answered = await one(host)
        if when == "EHLO":
            # RFC 5321 section 3.2: HELO does.
            assert answered.reply is not None
            assert answered.reply.code == 250
            assert "HELO client.test" in host.heard
            return
        assert answered.reply is not None
        assert (answered.stage, answered.reply.code) == (WITHIN[when], code)


async def test_a_host_that_takes_no_content() -> None:
    """The buffers of the kernel hold some; the message has to be larger than these."""
    content = (b"x" * 998 + b"\r\n") * 20_000
    for offers in ((), ("CHUNKING", "PIPELINING")):
        host = Talker({"BDAT": STALL}, offers=offers, deaf=True)
        async with host.listening(), opened(host, IMPATIENT) as (link, _):
            (answered,) = await link.send(letter(content), (BOB,))
            assert (answered.stage, answered.trouble) == (Stage.DATA, Trouble.TIMEOUT)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found = await trouble(Talker(port=taken.getsockname()[1]))
    assert (found.stage, found.trouble, found.detail) == (Stage.CONNECT, Trouble.REFUSED, "connection refused")


async def test_a_host_that_does_not_take_the_connection() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        # The queue of Linux holds one more than it is told.
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(full.getsockname())
            waiting.append(client)
        found = await trouble(Talker(port=full.getsockname()[1]), IMPATIENT)
        for client in waiting:
            client.close()
    assert (found.stage, found.trouble) == (Stage.CONNECT, Trouble.TIMEOUT)


async def test_nobody_waits_for_the_end_of_a_goodbye() -> None:
    async with Talker({"QUIT": STALL}).listening() as host, opened(host, IMPATIENT) as (link, _):
        async with asyncio.timeout(5):
            await link.release(keep=False)
        assert not link.usable


async def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    """It would count for the next message."""
    says = {"END": b"250 2.0.0 taken\r\n250 2.0.0 taken\r\n"}
    async with Talker(says).listening() as host, opened(host) as (link, _):
        (answered,) = await link.send(letter(), (BOB,))
        assert answered.reply is not None
        assert not link.usable


async def test_content_that_must_not_be_sent() -> None:
    async with Talker().listening() as host:
        for content in (b"a\n.\nb\r\n", b"x" * 300_000 + b"\n.\r\nb\r\n"):
            answered = await one(host, what=letter(content))
            assert (answered.trouble, answered.enhanced) == (Trouble.UNABLE, "5.6.0")
    assert host.messages == []


async def test_content_that_cannot_be_read() -> None:
    class Broken(Content):
        async def chunks(self) -> AsyncIterator[bytes]:
            yield b"x" * 300_000
            raise OSError(5, "Input/output error")

    async with Talker().listening() as host:
        what = Letter("A", "ann@one.test", Broken(b"x" * 400_000))
        answered = await one(host, what=what)
        assert answered.trouble is Trouble.OURS
        assert "input/output error" in answered.detail
    assert host.messages == []


async def test_who_cancels_leaves_no_connection() -> None:
    async with Talker({"END": STALL}).listening() as host, opened(host) as (link, _):
        task = asyncio.create_task(link.send(letter(), (BOB,)))
        await until(lambda: host.messages)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not link.usable
