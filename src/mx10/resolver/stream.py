"""A connection to a server over TCP or TLS (RFC 7766, RFC 7858), with many questions on it at once."""

import asyncio
import contextlib
import secrets

from mx10.dns.message import Message, Question
from mx10.resolver.asking import MAX_MESSAGE, Asking, Server, Transport, TransportError, believable, query, tls_context


class Stream:
    """One connection on which several questions wait for their answers at once (RFC 7766 section 6.2.1.1)."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._writer = writer
        self._waiting: dict[int, tuple[Question, asyncio.Future[Message]]] = {}
        self._reading = asyncio.create_task(self._read(reader))
        self.used = False
        """Whether it carried an answer already."""
        self._heard = 0
        self._given_up = False

    @classmethod
    async def open(cls, server: Server) -> "Stream":
        tls = tls_context(server) if server.transport is Transport.TLS else None
        name = (server.hostname or server.address) if tls is not None else None
        reader, writer = await asyncio.open_connection(
            server.address, server.port, ssl=tls, server_hostname=name, limit=2 * MAX_MESSAGE
        )
        return cls(server, reader, writer)

    @property
    def closed(self) -> bool:
        """Whether it takes no more questions."""
        return self._given_up or self._reading.done()

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for an answer on it."""
        return bool(self._waiting)

    async def ask(self, name: bytes, rrtype: int, asking: Asking) -> Message:
        if self.closed:
            raise EOFError("the server closed the connection")
        ident = secrets.randbits(16)
        while ident in self._waiting:
            ident = secrets.randbits(16)
        octets, question = query(name, rrtype, asking, ident=ident, padded=self._server.transport is Transport.TLS)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = question, answer
        heard = self._heard
        try:
            self._writer.write(len(octets).to_bytes(2, "big") + octets)
            await self._writer.drain()
            return await answer
        except asyncio.CancelledError:
            # The time is up, and nothing came since: a connection can die without a word (a firewall that forgot it).
            self._given_up |= self._heard == heard
            raise
        finally:
            del self._waiting[ident]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        error: Exception = EOFError("the server closed the connection")
        try:
            while True:
                packet = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                self._heard += 1
                self._take(packet)
        except asyncio.IncompleteReadError:
            pass
        except OSError as caught:
            error = caught
        finally:
            # Nothing is left to say; a server that does not answer the farewell of TLS would be waited for.
            self._writer.transport.abort()
            for _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(error)

    def _take(self, packet: bytes) -> None:
        question, answer = self._waiting.get(int.from_bytes(packet[:2], "big"), (None, None))
        if question is None or answer is None or answer.done():
            return
        message = believable(packet, question, int.from_bytes(packet[:2], "big"))
        if message is None:
            answer.set_exception(TransportError(f"{self._server}: the answer is not to the question asked"))
        else:
            self.used = True
            answer.set_result(message)

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
