"""The socket, TLS and the clock of a connection to a host that takes mail. What is said is ``smtp.ClientSession``'s."""

import asyncio
import errno
import os
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from mx10.relay.courier.values import StepKind, Trouble
from mx10.relay.turns import TurnEnd
from mx10.smtp import sending as smtp
from mx10.smtp.client import ClientSession
from mx10.smtp.replies import Reply
from mx10.smtp.sending import ClientOptions
from mx10.values import value_class

_EARLY: Final = 65536
"""Octets that may come before somebody waits for them."""

_UNREACHABLE: Final = frozenset(
    {
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
        errno.EAFNOSUPPORT,
        errno.EADDRNOTAVAIL,
        errno.EACCES,
        errno.EPERM,
        errno.EINVAL,
    }
)
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@value_class
class Timeouts:
    """Seconds, as RFC 5321 section 4.5.3.2 has them; it has none for ``connect``, ``handshake`` and ``quit``."""

    connect: float = 30.0
    handshake: float = 60.0
    greeting: float = 300.0
    command: float = 300.0
    """EHLO, STARTTLS, AUTH, MAIL, RCPT, RSET."""
    data: float = 120.0
    """The reply to DATA."""
    block: float = 180.0
    """Until a piece of the content is taken, or, with BDAT, acknowledged."""
    end: float = 600.0
    """The reply to the whole content. Too short a time brings messages twice (RFC 1047)."""
    quit: float = 2.0

    def for_stage(self, stage: smtp.Stage) -> float:
        """How long a reply may take."""
        if stage is smtp.Stage.GREETING:
            return self.greeting
        if stage is smtp.Stage.DATA:
            return self.data
        if stage is smtp.Stage.CONTENT:
            return self.block
        if stage is smtp.Stage.END:
            return self.end
        return self.quit if stage is smtp.Stage.QUIT else self.command

    def at_most(self, seconds: float) -> "Timeouts":
        """None of them longer than this."""
        return Timeouts(
            *(
                min(each, seconds)
                for each in (
                    self.connect,
                    self.handshake,
                    self.greeting,
                    self.command,
                    self.data,
                    self.block,
                    self.end,
                    self.quit,
                )
            )
        )


_UNBOUND: Final = ClientOptions("")


class Wire(asyncio.Protocol):
    """The socket and the clock of a session."""

    def __init__(
        self,
        timeouts: Timeouts,
        tell: Callable[[StepKind, str, Reply | None], None],
        lost: Callable[[], None],
        turn_end: TurnEnd,
    ) -> None:
        self.session = ClientSession(_UNBOUND)
        self.trouble: Trouble | None = None
        """What ended it, where no reply did."""
        self.detail = ""
        self._timeouts = timeouts
        self._tell = tell
        self._on_lost = lost
        self._turn_end = turn_end
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        # What comes before the first TLS of an encrypted port was sent by somebody else: it goes nowhere (None).
        self._begun = False
        self._early: bytes | None = None
        self._events: deque[smtp.ClientEvent] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._full: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # for a stream it is one

    def data_received(self, data: bytes) -> None:
        if self.trouble is not None:
            return
        if not self._begun:
            if self._early is not None and len(self._early) < _EARLY:
                self._early += data
            return
        self.dispatch(self.session.receive(data))

    def eof_received(self) -> bool:
        self.lose(Trouble.RESET, "the host closed the connection")
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lose(Trouble.RESET, cause_of(error) if error is not None else "the host closed the connection")
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        if self._full is None:
            self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._full is not None and not self._full.done():
            self._full.set_result(None)
        self._full = None

    # What a link calls.

    def own_address(self) -> str:
        """Our end of the connection, as an address literal (RFC 5321 section 4.1.4)."""
        name = self._transport.get_extra_info("sockname") if self._transport is not None else None
        address = name[0] if isinstance(name, tuple) else "127.0.0.1"
        return f"[IPv6:{address.partition('%')[0]}]" if ":" in address else f"[{address}]"

    def expect(self) -> None:
        """What comes from now on is kept for ``begin``."""
        self._early = b""

    def begin(self) -> None:
        """What comes is the session's."""
        self._begun = True
        self._await_reply()
        early, self._early = self._early, None
        if early:
            self.data_received(early)

    def extra(self, name: str) -> ssl.SSLObject | None:
        """What the transport knows."""
        found: ssl.SSLObject | None = self._transport.get_extra_info(name) if self._transport is not None else None
        return found

    def dispatch(self, events: list[smtp.ClientEvent]) -> None:
        """Tell those who watch, wake who waits, and send what is to be sent."""
        replied = False
        for event in events:
            if isinstance(event, smtp.Replied):
                replied = True
                self._tell(StepKind.REPLY, "", event.reply)
            else:
                self._events.append(event)
        if self._events and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        sent = self._speak()
        if replied or sent:
            self._await_reply()
        if self.session.ended:
            self._on_lost()

    async def next(self) -> smtp.ClientEvent:
        """The next event; one always comes, as every wait has an end."""
        while not self._events:
            if self.session.ended:
                # Said already, to somebody who did not listen to the end.
                what = Reply.of(451, "4.4.2", self.detail or "the connection has ended")
                return smtp.Ended(smtp.Stage.IDLE, what, ours=True)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._events.popleft()

    async def drain(self) -> None:
        """Send, and wait until there is room for more."""
        self._speak()
        self._flush()
        if self._full is not None:
            full = self._full
            self._wait(self._timeouts.block)
            await full
            self._await_reply()

    async def handshake(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS. Raises OSError, ValueError, TimeoutError."""
        transport = self._transport
        if transport is None or self.trouble is not None:
            raise ConnectionResetError(self.detail or "the host closed the connection")
        self._wait(None)
        # start_tls takes the transport over at once: nothing more comes here in the clear. What comes within TLS before
        # it returns must wait, for an answer would go out in the clear.
        self._early = b""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeouts.handshake):
                made = await loop.start_tls(transport, self, context, server_hostname=host)
        except BaseException:
            transport.abort()
            raise
        if made is None:
            raise ConnectionResetError("the host closed the connection")
        self._transport = made

    async def close(self) -> None:
        """Close in order, within a moment."""
        self._wait(None)
        if self._transport is not None:
            self._flush()
            self._transport.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timeouts.quit):
                    await asyncio.shield(self._gone)
        self.abort()

    def abort(self) -> None:
        """Close now."""
        self.lose(Trouble.RESET, "given up")
        if self._transport is not None:
            self._transport.abort()

    def lose(self, trouble: Trouble, detail: str) -> None:
        """The connection is no more."""
        if self.trouble is None:
            self._wait(None)
            if not self.session.ended:
                self.trouble, self.detail = trouble, detail
            self.dispatch(self.session.closed(detail))
            self.resume_writing()

    # The clock.

    def _speak(self) -> bool:
        """Have what is to be said sent, soon. Returns whether there is anything."""
        for command in self.session.commands():
            self._tell(StepKind.COMMAND, command, None)
        out = self.session.to_send()
        if not out or self._transport is None:
            return False
        self._out.append(out)
        if len(self._out) == 1:
            self._turn_end.then(self._flush)
        return True

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None and not self._transport.is_closing():
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def _await_reply(self) -> None:
        """A reply has so long from now on, all of it."""
        stage = self.session.stage
        if self._full is not None and self.session.wants_content:
            self._wait(self._timeouts.block)
            return
        if self.session.ended:
            self._wait(None)
        elif stage is smtp.Stage.IDLE or self.session.wants_content:
            # The timer stays: the next message wants it at once, and it minds nobody.
            self._deadline = None
        else:
            self._wait(self._timeouts.for_stage(stage))

    def _wait(self, seconds: float | None) -> None:
        if seconds is None:
            self._deadline = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + seconds
        # Most replies come long before: the timer is only moved when it would ring too late.
        if self._timer is not None and self._timer.when() <= self._deadline:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._deadline:
            self._timer = loop.call_at(self._deadline, self._ring)
            return
        stage = self.session.stage
        if self._full is not None:
            what = f"the host took nothing of the message for {self._timeouts.block:g} s"
        else:
            what = f"no reply within {self._timeouts.for_stage(stage):g} s (waiting at {stage})"
        self.lose(Trouble.TIMEOUT, what)
        if self._transport is not None:
            self._transport.abort()


@lru_cache(maxsize=8)
def context_of(verified: bool, ca_file: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer (RFC 8996)."""
    if verified:
        context = ssl.create_default_context(cafile=ca_file)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Short keys are refused by default; here the choice is between those and no TLS at all (RFC 7435 section 3).
        context.set_ciphers("DEFAULT:@SECLEVEL=1")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def trouble_of(error: OSError) -> Trouble:
    if isinstance(error, ConnectionRefusedError):
        return Trouble.REFUSED
    if error.errno in _OURS:
        return Trouble.OURS
    if error.errno == errno.ETIMEDOUT:
        return Trouble.TIMEOUT
    return Trouble.UNREACHABLE if error.errno in _UNREACHABLE else Trouble.RESET


def cause_of(error: BaseException) -> str:
    """What went wrong, in the system's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
