"""Deliveries that end here: into a Maildir, or to a webhook. (To LMTP it is ``delivery`` with a target that says so.)

Both can be repeated. A Maildir gets the same name for the same message and recipient, so that a delivery which was
written and not noted (a crash between the two) replaces itself while nobody has read it. A webhook gets the same
``Idempotency-Key``.

A webhook is one POST of the message as it is (``message/rfc822``), with these headers::

    Mx10-Message: 0123456789ABC
    Mx10-Sender: "alice@example.com"                      (JSON; "" for nobody)
    Mx10-Recipients: ["bob@hooks.example"]                (JSON, ASCII)
    Idempotency-Key: 6f1e…                                (the same when it is sent again)
    Mx10-Signature: t=1790000000,v1=9f86d0818…            (where there is a secret)

The signature is HMAC-SHA-256, in hex, with the secret as its key, of ``t``, message, sender and recipients as they
stand in the headers, each with a line feed behind it, and then the body. Whoever checks it also looks whether ``t`` is
of the last minutes.
"""

import asyncio
import errno
import hashlib
import hmac
import json
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mx10.names import AddressError, parse_address
from mx10.relay.courier.classify import advice
from mx10.relay.courier.transports import Transport, TransportError, read_secret
from mx10.relay.courier.values import Addressee, Content, End, Fate, Letter, Stage, Trouble
from mx10.routing.addresses import to_text
from mx10.values import value_class

if TYPE_CHECKING:
    import httpx

TOGETHER: Final = 20
"""Recipients of one request to a webhook: their header has to fit into the 8 KiB that servers read."""
MAX_ANSWER: Final = 4096
"""Octets of a webhook's answer that are read."""
WHOLE: Final = 256 << 10
"""Octets of a message that is written in one go."""

_SAFE: Final = re.compile(r"[^a-z0-9_+=@.\u00a0-\U0010ffff-]")
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED: Final = {410: "5.1.1", 413: "5.3.4", 422: "5.6.0"}
"""What a webhook says for good. All else may be a mistake in how it is set up: mail waits until someone mends it."""


# ---------------------------------------------------------------- Maildir


class _BoxError(Exception):
    """A Maildir that cannot be written to: what becomes of the message."""

    def __init__(self, end: End, enhanced: str, reason: str) -> None:
        super().__init__(reason)
        self.end = end
        self.enhanced = enhanced


@value_class
class Box:
    """A Maildir. ``must_exist``: the folder that says that there is such a recipient; ``base``: what somebody has to
    have set up (or mounted) before anything can be said of recipients."""

    path: str
    must_exist: str
    base: str


def box_of(template: str, address: str) -> Box:
    """The Maildir of a recipient.

    Args:
        template: its path, with ``{domain}`` and ``{local}``.
        address: of the recipient. In a path, it is in lower case, and what is no letter or digit, nor one of
            ``_+=@.-``, is written as ``%2F``; so is a dot at the beginning. No address leads out of its place.

    Raises:
        ValueError: it is no address, or longer than the name of a folder can be.
    """
    local, domain = address, ""
    if "@" in address:
        found = parse_address(address)
        local, domain = found.local, address.rpartition("@")[2]
    if not domain and "{domain}" in template:
        raise ValueError(f"{address} names no domain")
    values = {"local": _folder(local), "domain": _folder(domain)}
    parts = template.rstrip("/").split("/")
    marked = [at for at, part in enumerate(parts) if "{" in part]
    filled = [part.format(**values) if "{" in part else part for part in parts]
    if any(len(part.encode()) > 255 for part in filled):
        raise ValueError("the address is too long for the name of a folder")
    whole = "/".join(filled)
    if not marked:
        return Box(whole, "", "/".join(filled[:-1]) or "/")
    return Box(whole, "/".join(filled[: marked[-1] + 1]), "/".join(filled[: marked[0]]) or "/")


def _folder(text: str) -> str:
    safe = _SAFE.sub(lambda match: "".join(f"%{octet:02X}" for octet in match[0].encode()), text.lower())
    return f"%2E{safe[1:]}" if safe.startswith(".") else safe


async def to_maildir(
    template: str,
    letter: Letter,
    recipients: Sequence[Addressee],
    *,
    arrived: int,
    hostname: str,
    token: Callable[[], str],
) -> list[Fate]:
    """Write a message into the Maildir of each recipient, durably: file and folder are synced before it counts.

    Args:
        template: the path, as in ``Transport.path``.
        arrived: milliseconds since 1970; a part of the name.
        token: gives letters and digits drawn at random, for the names of unfinished files.

    Returns:
        A fate for each recipient, in their order.
    """
    fates = []
    for recipient in recipients:
        try:
            box = box_of(template, recipient.address)
            name = f"{arrived // 1000}.M{letter.name}R{recipient.key}.{hostname.replace('/', '_').replace(':', '_')}"
            written = await _write(box, name, f"{name}.{token()}", letter, recipient)
        except _BoxError as problem:
            fates.append(_kept(recipient, problem.end, problem.enhanced, str(problem)))
        except (AddressError, ValueError) as problem:
            fates.append(_kept(recipient, End.FAILED, "5.1.3", str(problem)))
        except OSError as problem:
            enhanced = "4.2.2" if problem.errno == errno.EDQUOT else "4.3.1" if problem.errno in _FULL else "4.3.0"
            why = f"the mailbox cannot be written: {problem.strerror or problem}"
            fates.append(_kept(recipient, End.LATER, enhanced, why, Trouble.OURS))
        else:
            fates.append(
                Fate(
                    recipient,
                    End.DELIVERED,
                    "2.0.0",
                    f"written to {written}",
                    final=True,
                    reached=True,
                    stage=Stage.FINAL,
                )
            )
    return fates


def _kept(recipient: Addressee, end: End, enhanced: str, reason: str, trouble: Trouble | None = None) -> Fate:
    return Fate(recipient, end, enhanced, reason, advice(enhanced), trouble=trouble)


async def _write(box: Box, name: str, unfinished: str, letter: Letter, recipient: Addressee) -> str:
    head = f"Return-Path: <{letter.reverse_path}>\nDelivered-To: {recipient.address}\n".encode()
    if letter.content.size <= WHOLE:
        # One trip to a thread for all of it.
        data = b"".join([chunk async for chunk in letter.content.chunks()])
        return await asyncio.to_thread(_write_whole, box, name, unfinished, [head, data.replace(b"\r\n", b"\n")])
    temporary, descriptor = await asyncio.to_thread(_begin, box, unfinished)
    try:
        await asyncio.to_thread(_write_all, descriptor, head)
        async for chunk in _unix_lines(letter.content.chunks()):
            await asyncio.to_thread(_write_all, descriptor, chunk)
        return await asyncio.to_thread(_finish, box, name, temporary, descriptor)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)


def _write_whole(box: Box, name: str, unfinished: str, pieces: Iterable[bytes]) -> str:
    temporary, descriptor = _begin(box, unfinished)
    try:
        for piece in pieces:
            _write_all(descriptor, piece)
        return _finish(box, name, temporary, descriptor)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)


def _begin(box: Box, unfinished: str) -> tuple[Path, int]:
    """Open a file in ``tmp``; a Maildir is made where its owner has a place for it."""
    if not Path(box.base).is_dir():
        # Perhaps a disk that is not mounted: of no recipient it can be said that there is none.
        raise _BoxError(End.LATER, "4.3.5", f"{box.base}, where mailboxes are, is not there")
    if box.must_exist and not Path(box.must_exist).is_dir():
        raise _BoxError(End.FAILED, "5.1.1", "there is no such mailbox")
    path = Path(box.path)
    if not (path / "new").is_dir():
        for folder in ("cur", "tmp", "new"):
            (path / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(path)
        _sync(path.parent)
    temporary = path / "tmp" / unfinished
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return temporary, os.open(temporary, flags, 0o600)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _finish(box: Box, name: str, temporary: Path, descriptor: int) -> str:
    os.fsync(descriptor)
    new = Path(box.path) / "new"
    temporary.rename(new / name)
    _sync(new)
    return str(new / name)


def _sync(folder: Path) -> None:
    """The names in a folder are durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _unix_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """CR LF becomes LF, also where a chunk ends between the two."""
    held = b""
    async for chunk in chunks:
        data = held + chunk
        held = b"\r" if data.endswith(b"\r") else b""
        yield data.removesuffix(held).replace(b"\r\n", b"\n")
    if held:
        yield held


# ---------------------------------------------------------------- webhook


@value_class
class Patience:
    """Seconds: to connect, for each read and write, and for all of a request."""

    connect: float = 10.0
    each: float = 60.0
    whole: float = 600.0


async def to_webhook(
    transport: Transport,
    addresses: Sequence[bytes],
    letter: Letter,
    recipients: Sequence[Addressee],
    *,
    clock: Callable[[], int],
    patience: Patience | None = None,
    verify: ssl.SSLContext | bool = True,
) -> list[Fate]:
    """Give a message to a webhook.

    Args:
        addresses: of the host, in the order in which they are tried; see ``transports.addresses_of``.
        clock: milliseconds since 1970, for the signature.
        verify: False, or a context, for authorities other than the usual ones.

    Returns:
        A fate for each recipient, in their order.
    """
    # Slow to import; most relays have no webhook.
    import httpx

    patience = patience or Patience()
    if not addresses:
        why = f"the address of {transport.host}, where this mail is to go, cannot be looked up"
        return [_kept(each, End.LATER, "4.4.3", why) for each in recipients]
    try:
        secret = await asyncio.to_thread(read_secret, transport.secret) if transport.secret is not None else None
    except TransportError as problem:
        return [_kept(each, End.LATER, "4.3.5", str(problem), Trouble.OURS) for each in recipients]
    timeout = httpx.Timeout(patience.each, connect=patience.connect)
    fates: list[Fate] = []
    # The environment may name a proxy, for the web; mail goes to the host that was named.
    async with httpx.AsyncClient(verify=verify, timeout=timeout, trust_env=False, follow_redirects=False) as client:
        for at in range(0, len(recipients), TOGETHER):
            batch = tuple(recipients[at : at + TOGETHER])
            end, enhanced, reason = await _post(client, transport, addresses, letter, batch, secret, clock, patience)
            reached = enhanced != "4.4.1"
            told = advice(enhanced) if end is not End.DELIVERED else ""
            fates += (
                Fate(
                    each,
                    end,
                    enhanced,
                    reason,
                    told,
                    stage=Stage.FINAL if reached else Stage.CONNECT,
                    host=transport.host,
                    final=end is End.DELIVERED,
                    reached=reached,
                )
                for each in batch
            )
    return fates


async def _post(
    client: "httpx.AsyncClient",
    transport: Transport,
    addresses: Sequence[bytes],
    letter: Letter,
    batch: tuple[Addressee, ...],
    secret: bytes | None,
    clock: Callable[[], int],
    patience: Patience,
) -> tuple[End, str, str]:
    """One request, at the first address that can be connected to."""
    import httpx

    host = transport.host
    reason = ""
    try:
        async with asyncio.timeout(patience.whole):
            headers = await signed_headers(letter, batch, secret, clock() // 1000)
            for address in addresses:
                try:
                    return await _answer(client, transport, address, letter.content, headers)
                except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                    reason = f"{host} [{to_text(address)}] cannot be reached: {error or 'no connection in time'}"
            return End.LATER, "4.4.1", reason
    except (TimeoutError, httpx.TimeoutException):
        return End.LATER, "4.4.2", f"{host} did not answer in time; the message is sent again, and may come twice"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return End.LATER, "4.4.2", f"{host}: {error or type(error).__name__}"
    except OSError as error:
        return End.LATER, "4.3.0", f"the message cannot be read here: {error.strerror or error}"


async def _answer(
    client: "httpx.AsyncClient", transport: Transport, address: bytes, content: Content, headers: dict[str, str]
) -> tuple[End, str, str]:
    parts = urlsplit(transport.url)
    port = f":{parts.port}" if parts.port is not None else ""
    literal = f"[{to_text(address)}]" if len(address) == 16 else to_text(address)
    named = f"[{transport.host}]" if ":" in transport.host else transport.host
    # The connection goes to an address that our own resolver found; the name is for the certificate and the server.
    url = parts._replace(netloc=literal + port, fragment="").geturl()
    async with client.stream(
        "POST",
        url,
        content=content.chunks(),
        headers={"host": named + port, "content-length": str(content.size), **headers},
        extensions={"sni_hostname": transport.host},
    ) as response:
        answer = bytearray()
        async for part in response.aiter_raw():
            answer += part
            if len(answer) > MAX_ANSWER:
                break
        code = response.status_code
    words = " ".join(answer[:300].decode("utf-8", "replace").split())
    said = f"{transport.host} answered {code}{f' “{_printable(words)}”' if words else ''}"
    if 200 <= code < 300:
        return End.DELIVERED, "2.0.0", said
    if code in _REFUSED:
        return End.FAILED, _REFUSED[code], said
    if 300 <= code < 400:
        return End.LATER, "4.3.5", f"{said}, which sends us elsewhere: set relay.transports to where it is now"
    return End.LATER, "4.3.0", said


async def signed_headers(
    letter: Letter, batch: tuple[Addressee, ...], secret: bytes | None, now: int
) -> dict[str, str]:
    """The headers of a request to a webhook. ``now``: seconds since 1970; without a secret there is no signature.

    Raises:
        OSError: the content cannot be read.
    """
    sender = json.dumps(letter.reverse_path)
    recipients = json.dumps([each.address for each in batch])
    keyed = f"{letter.name}\n{sender}\n{recipients}\n"
    headers = {
        "content-type": "message/rfc822",
        "accept-encoding": "identity",
        "mx10-message": letter.name,
        "mx10-sender": sender,
        "mx10-recipients": recipients,
        "idempotency-key": hashlib.sha256(keyed.encode()).hexdigest(),
    }
    if secret is not None:
        signed = hmac.new(secret, f"{now}\n{keyed}".encode(), "sha256")
        async for chunk in letter.content.chunks():
            signed.update(chunk)
        headers["mx10-signature"] = f"t={now},v1={signed.hexdigest()}"
    return headers


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
