"""The desk: where workers hand in what is more than a question, and commands what they want done, at a Unix socket.

One connection is one operation: a frame in, frames out, and the end. A frame is its length (4 octets), its kind (1
octet), and a body. A worker hands in who asked, how, and the message as it came; it gets response messages, signed if
the request was, and passes them on. A command hands in JSON and gets JSON.

The socket is in a folder of our own, and only our user and group may use it: what comes from there is not hostile, but
the messages within are, and so may be their number.
"""

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, Literal

from mx10.dns import rrtypes as rr
from mx10.dns.message import HEADER, QR, RD, Message, parse
from mx10.dns.tsig import Answerer, SignedRequest, TsigError, TsigKey, read_request, refusal
from mx10.dns.wirename import WireError
from mx10.logs import get_logger
from mx10.nameserver.rate import Seldom
from mx10.store.errors import StoreError

MESSAGE: Final = 1
"""A DNS message. From a worker with the client before it."""
ORDER: Final = 2
"""JSON: what a command wants, and what came of it."""
COUNTERS: Final = 3
"""What a worker counted; no answer. Several may come on one connection."""

MOST_OPEN: Final = 1000
"""Operations at the same time; more wait to be accepted."""
BACKLOG: Final = 4096
"""Connections that wait to be accepted; where there are more, asyncio takes a connection for made that is not."""
MOST_FRAME: Final = 1 << 24
"""Octets of a frame's body."""
SOCKET_MODE: Final = 0o660
ORDER_SECONDS: Final = 600.0
"""How long a command waits for what it ordered."""
_LINES: Final = 20
"""Requests that are signed wrong, or fail, that are told in the log in one second."""

_TRANSPORTS: Final[tuple[Literal["udp", "tcp", "tls"], ...]] = ("udp", "tcp", "tls")
_FRAME: Final = Struct("!IB")
_CLIENT: Final = Struct("!BHB")

log = get_logger("steward")


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client sent.

    Attributes:
        message: without its TSIG record.
        client: its IP address; ``port`` beside it.
        key: the key that signed the message, verified; None for one that is not signed.
    """

    message: bytes
    parsed: Message
    client: str
    port: int
    transport: Literal["udp", "tcp", "tls"]
    key: TsigKey | None

    @property
    def key_name(self) -> bytes | None:
        return None if self.key is None else self.key.name


Handler = Callable[[Operation], AsyncGenerator[bytes, None]]
"""Gives the response messages, unsigned; none at all is silence."""
OrderHandler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
Keys = Callable[[], Mapping[bytes, TsigKey]]


class DeskError(Exception):
    """An order that was not done: why, and what to do."""


class AbsentError(DeskError):
    """Nobody is at the desk."""


class Desk:
    """Hands operations to those who do them.

    Args:
        keys: the TSIG keys there are just now.
        clock: seconds since 1970.
    """

    def __init__(self, keys: Keys, *, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._opcodes: dict[int, Handler] = {}
        self._types: dict[int, Handler] = {}
        self._others: Handler | None = None
        self._orders: dict[str, OrderHandler] = {}
        self.on_counters: Callable[[bytes], None] = lambda body: None
        """Told what workers counted."""
        self._server: asyncio.Server | None = None
        self._open = asyncio.Semaphore(MOST_OPEN)
        self._seldom = Seldom(_LINES)

    def for_opcode(self, opcode: int, handler: Handler) -> None:
        """Who does operations of an opcode other than QUERY."""
        self._opcodes[opcode] = handler

    def for_type(self, qtype: int, handler: Handler) -> None:
        """Who answers questions of a type."""
        self._types[qtype] = handler

    def for_other_questions(self, handler: Handler) -> None:
        """Who answers questions of all other types: they come here when they are signed."""
        self._others = handler

    def for_order(self, name: str, handler: OrderHandler) -> None:
        """Who does what commands order: JSON with ``"order": name``. What he raises as ``DeskError`` is told."""
        self._orders[name] = handler

    # ---------------------------------------------------------------- at the socket

    async def open(self, path: Path) -> None:
        """Listen. A socket that is left over there is replaced.

        Raises:
            OSError: the folder cannot be made, or the socket not be bound.
        """
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        sock = socket.socket(socket.AF_UNIX)
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(FileNotFoundError):
            beside.unlink()
        sock.bind(str(beside))
        beside.chmod(SOCKET_MODE)
        # Only now at its place: nobody finds one that does not listen, and that of a steward before us is replaced.
        sock.listen(BACKLOG)
        beside.rename(path)
        self._server = await asyncio.start_unix_server(self._serve, sock=sock, limit=1 << 18, backlog=BACKLOG)

    def close(self) -> None:
        """Accept nothing more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._open:
            try:
                kind, body = await _read_frame(reader)
                if kind == MESSAGE:
                    await self._do(body, writer)
                elif kind == ORDER:
                    await _write_frame(writer, ORDER, json.dumps(await self._order(body)).encode())
                while kind == COUNTERS:
                    self.on_counters(body)
                    kind, body = await _read_frame(reader)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # the worker is gone, or its client is
            except Exception:
                self._seldom.tell(log.exception, "an operation failed")
            finally:
                writer.close()

    async def _do(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        code, port, length = _CLIENT.unpack_from(body)
        client = body[_CLIENT.size : _CLIENT.size + length].decode("ascii")
        message = body[_CLIENT.size + length :]
        async with aclosing(self.responses(message, client, port, _TRANSPORTS[code])) as responses:
            async for response in responses:
                await _write_frame(writer, MESSAGE, response)

    async def responses(
        self, message: bytes, client: str, port: int, transport: Literal["udp", "tcp", "tls"]
    ) -> AsyncGenerator[bytes, None]:
        """The responses to a message, signed if it was.

        Args:
            message: as it came from the client.
        """
        try:
            request = read_request(message, self._keys(), self._clock())
            signed = request if isinstance(request, SignedRequest) else None
            plain = request.message if isinstance(request, SignedRequest) else request
            parsed = parse(plain)
        except TsigError as error:
            self._seldom.tell(log.warning, "a request is signed wrong", client=client, cause=str(error))
            if response := refusal(error, self._clock()):
                yield response
            return
        except WireError:
            if len(message) >= HEADER.size and not message[2] & 0x80:
                yield _code(message, rr.Rcode.FORMERR)
            return
        if parsed.qr:
            return
        sign = Answerer(signed, self._clock).sign if signed is not None else bytes
        handler = self._handler(parsed)
        if handler is None:
            rcode = rr.Rcode.REFUSED if parsed.opcode == rr.Opcode.QUERY else rr.Rcode.NOTIMP
            yield sign(_code(plain, rcode))
            return
        key = signed.key if signed is not None else None
        begun = False
        try:
            async with aclosing(handler(Operation(plain, parsed, client, port, transport, key))) as responses:
                async for response in responses:
                    begun = True
                    yield sign(response)
        except StoreError as error:
            self._seldom.tell(log.error, "the store cannot be used for a request", client=client, cause=str(error))
            if not begun:
                yield sign(_code(plain, rr.Rcode.SERVFAIL))

    def _handler(self, parsed: Message) -> Handler | None:
        if parsed.opcode != rr.Opcode.QUERY:
            return self._opcodes.get(parsed.opcode)
        return self._types.get(parsed.question.type, self._others) if parsed.question is not None else None

    async def _order(self, body: bytes) -> Mapping[str, Any]:
        try:
            order = json.loads(body)
            handler = self._orders.get(order["order"])
            if handler is None:
                return {"error": f"this server does not know the order {order['order']!r}; is it of an older version?"}
            return await handler(order)
        except DeskError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"the order cannot be read: {error!r}"}


def _code(message: bytes, rcode: int) -> bytes:
    """A response of a code and nothing else."""
    flags = int.from_bytes(message[2:4], "big")
    return message[:2] + (QR | flags & (0x7800 | RD) | rcode).to_bytes(2, "big") + bytes(8)


async def _read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    length, kind = _FRAME.unpack(await reader.readexactly(_FRAME.size))
    if length > MOST_FRAME:
        raise OSError("a frame is too long")
    return kind, await reader.readexactly(length)


async def _write_frame(writer: asyncio.StreamWriter, kind: int, body: bytes) -> None:
    writer.write(_FRAME.pack(len(body), kind) + body)
    # Whoever reads slowly is not read for ahead of time: a transfer waits for its client.
    await writer.drain()


# ---------------------------------------------------------------- who comes to it


async def hand_in(
    path: str, message: bytes, client: str, port: int, transport: Literal["udp", "tcp", "tls"]
) -> AsyncGenerator[bytes, None]:
    """Have an operation done: the responses, one after the other.

    Raises:
        OSError: nobody is at the desk, or he left.
    """
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 18)
    try:
        address = client.encode("ascii")
        head = _CLIENT.pack(_TRANSPORTS.index(transport), port, len(address)) + address
        await _write_frame(writer, MESSAGE, head + message)
        while True:
            try:
                _, response = await _read_frame(reader)
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    raise ConnectionError("the steward left in the middle of a response") from None
                return
            yield response
    finally:
        writer.transport.abort()


def order(path: Path, name: str, *, seconds: float = ORDER_SECONDS, **values: Any) -> Mapping[str, Any]:
    """Have something done by the server that runs; for commands.

    Args:
        name: of the order; ``values`` go along.
        seconds: to wait for what comes of it.

    Raises:
        AbsentError: no server runs.
        DeskError: it says why it cannot.
    """
    body = json.dumps({"order": name, **values}).encode()
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(seconds)
            sock.connect(str(path))
            sock.sendall(_FRAME.pack(len(body), ORDER) + body)
            with sock.makefile("rb") as stream:
                length, _ = _FRAME.unpack(stream.read(_FRAME.size))
                found: Mapping[str, Any] = json.loads(stream.read(length))
    except FileNotFoundError:
        raise AbsentError(f"no server of this store runs (there is no {path}); start `mx10 serve`") from None
    except PermissionError:
        raise AbsentError(f"{path} may not be used; run this as the server's user, or as root") from None
    except TimeoutError:
        raise AbsentError(f"the server said nothing within {seconds:g} s; see its log") from None
    except (OSError, ValueError, struct_error) as error:
        raise AbsentError(f"no server answers at {path} ({error}); start `mx10 serve`") from None
    if "error" in found:
        raise DeskError(str(found["error"]))
    return found
