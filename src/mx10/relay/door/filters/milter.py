"""A filter that speaks the milter protocol: OpenDKIM, ClamAV-milter, Rspamd's proxy and many others.

All of a conversation takes place when the message is whole: connection, HELO, sender, recipients, header, body, end. So
a filter that refuses one of several recipients refuses the message.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Final

from mx10.relay.courier.values import Content
from mx10.relay.door.filters import milter_wire as wire
from mx10.relay.door.filters.edits import name_and_value, split
from mx10.relay.door.filters.values import FilterError, Verdict
from mx10.relay.door.values import Visitor
from mx10.relay.values import Envelope, NewRecipient

_PIECE: Final = 1 << 16


class Milter:
    """A filter.

    Args:
        name: as it is configured.
        place: ``(host, port)``, or the path of a Unix socket.
        hostname: ours.
    """

    def __init__(self, name: str, place: tuple[str, int] | str, hostname: str) -> None:
        self.name = name
        self._place = place
        self._hostname = hostname

    async def judge(
        self, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient], content: Content
    ) -> Verdict:
        """What it says about a message.

        Raises:
            FilterError: nothing that can be followed.
            OSError: it cannot be reached, or the content not be read.
        """
        if isinstance(self._place, str):
            reader, writer = await asyncio.open_unix_connection(self._place)
        else:
            reader, writer = await asyncio.open_connection(*self._place)
        try:
            return await _Talk(reader, writer).whole(self._hostname, visitor, envelope, recipients, content)
        finally:
            # It gets its goodbye, if it listens; nobody waits for that.
            with suppress(OSError, RuntimeError):
                writer.write(wire.packet("Q"))
                writer.close()

    async def close(self) -> None:
        """Ask no more."""


class _DoneError(Exception):
    """The filter has decided."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__()
        self.verdict = verdict


class _Talk:
    """One conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._packets = wire.Packets()
        self._here: list[tuple[str, bytes]] = []
        self._agreed = wire.Negotiated(wire.VERSION, 0, 0)

    async def whole(
        self,
        hostname: str,
        visitor: Visitor,
        envelope: Envelope,
        recipients: Sequence[NewRecipient],
        content: Content,
    ) -> Verdict:
        self._writer.write(wire.negotiation())
        self._agreed = wire.negotiated(*await self._next())
        try:
            await self._envelope(hostname, visitor, envelope, recipients)
            await self._content(content)
        except _DoneError as done:
            return done.verdict
        changes = wire.Changes(bool(self._agreed.steps & wire.LEADING_SPACE), self._agreed.actions)
        self._writer.write(wire.packet("E"))
        await self._writer.drain()
        while True:
            letter, data = await self._next()
            if changes.take(letter, data):
                continue
            try:
                self._decide(letter, data)
            except _DoneError as done:
                if done.verdict == Verdict():
                    break
                return done.verdict
            if letter == "c":
                break
        return changes.verdict()

    async def _envelope(
        self, hostname: str, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient]
    ) -> None:
        name = visitor.name or f"[{visitor.text}]"
        tls = visitor.tls.split(" ")
        macros = {"j": hostname, "_": f"{name} [{visitor.text}]", "v": "mx10", "daemon_name": visitor.kind}
        macros |= {"client_name": name, "client_addr": visitor.text, "client_ptr": visitor.name or "unknown"}
        self._writer.write(wire.macros("C", macros))
        await self._say("C", wire.connect(name, visitor.text, visitor.port))
        if visitor.tls:
            self._writer.write(wire.macros("H", {"tls_version": tls[0], "cipher": tls[-1]}))
        await self._say("H", wire.packet("H", wire.text(visitor.helo)))
        login = {"auth_type": "PLAIN", "auth_authen": visitor.user} if visitor.user else {}
        self._writer.write(wire.macros("M", {**login, "mail_addr": envelope.reverse_path}))
        await self._say("M", wire.packet("M", wire.text(f"<{envelope.reverse_path}>") + _arguments(envelope)))
        for each in recipients:
            self._writer.write(wire.macros("R", {"rcpt_addr": each.address}))
            await self._say("R", wire.packet("R", wire.text(f"<{each.address}>")))
        if self._agreed.version >= 4:
            await self._say("T", wire.packet("T"))

    async def _content(self, content: Content) -> None:
        fields, skip = await split(content)
        spaced = self._agreed.steps & wire.LEADING_SPACE
        for each in fields:
            name, value = name_and_value(each)
            if not name:
                continue
            if not spaced:
                value = value.removeprefix(b" ")
            # Within a host lines end in LF: that is how filters know a field that was folded.
            data = wire.text(name) + wire.text(value.replace(b"\r\n", b"\n"))
            await self._say("L", wire.packet("L", data))
        await self._say("N", wire.packet("N"))
        if not self._agreed.wants("B"):
            return
        async with aclosing(content.chunks()) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                for at in range(skip, len(chunk), wire.CHUNK):
                    if not await self._say("B", wire.packet("B", chunk[at : at + wire.CHUNK])):
                        return
                skip = 0

    async def _say(self, letter: str, packet: bytes) -> bool:
        """Say something, if the filter wants to hear it, and hear what it says.

        Returns:
            Whether it wants more of the same.

        Raises:
            _DoneError: it has decided.
        """
        if not self._agreed.wants(letter):
            return True
        self._writer.write(packet)
        await self._writer.drain()
        if not self._agreed.answers(letter):
            return True
        said, data = await self._next()
        if said == "s" and letter == "B":
            return False
        self._decide(said, data)
        return True

    def _decide(self, letter: str, data: bytes) -> None:
        if letter == "c":
            return
        if letter == "a":
            raise _DoneError(Verdict())
        if letter == "d":
            raise _DoneError(Verdict(discarded=True))
        if letter in "rty":
            raise _DoneError(Verdict(reply=wire.refusal(letter, data)))
        if letter == "f":
            raise FilterError("it does not want to see the connection")
        raise FilterError(f"it said {letter!r}, which means nothing here")

    async def _next(self) -> tuple[str, bytes]:
        """What it says next. That it is still at work says nothing: there is an end to its time."""
        while True:
            while not self._here:
                data = await self._reader.read(_PIECE)
                if not data:
                    raise FilterError("it closed the connection")
                self._here = self._packets.feed(data)
            found = self._here.pop(0)
            if found[0] != "p":
                return found


def _arguments(envelope: Envelope) -> bytes:
    """The parameters of MAIL that filters may ask for."""
    found = b""
    if envelope.body != "7BIT":
        found += wire.text(f"BODY={envelope.body}")
    if envelope.smtputf8:
        found += wire.text("SMTPUTF8")
    return found
