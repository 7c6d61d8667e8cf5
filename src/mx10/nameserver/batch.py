"""Datagrams by the batch: ``recvmmsg`` and ``sendmmsg`` of the C library, called through ctypes.

A datagram costs the kernel a few microseconds and Python's ``recvfrom``/``sendto`` nearly one more, most of it for
turning socket addresses into tuples and back. Here the addresses stay what they are, octets in a buffer: a response is
written over its request and goes back to where the request came from. On systems without these calls ``plain`` does the
same work one datagram at a time.

What is counted is counted by the batch (``counters``), and with the rate limit off nothing of it is in the way.

Layout: ``_SLOTS`` slots, each with room for one datagram, one socket address and (for sockets bound to a wildcard
    address) one control message, in which the kernel says to which of our addresses the request came; sent back with
    the response, it makes that the source address.
"""

import ctypes
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic_ns
from typing import Any, Final

from mx10.nameserver.counters import FULL_EVERY
from mx10.nameserver.query_log import QueryLog
from mx10.nameserver.relay import Relay, client_of, control_of, is_operation
from mx10.nameserver.responder import Responder
from mx10.nameserver.shield import IPV4_OCTETS, IPV6_OCTETS, Shield

_SLOTS: Final = 32
_ROUNDS: Final = 16
"""Batches taken in one go before other events of the loop get their turn: at most a few milliseconds."""
_ADDRESS: Final = 28
"""Octets of the largest socket address, that of IPv6."""
_CONTROL: Final = 64
_HEADER_OF_CONTROL: Final = 16
"""Octets of a control message before its data."""
_ANSWER_ROOM: Final = 64
"""Octets of a slot beyond the largest answer."""

_IP_PKTINFO: Final = 8


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Mmsghdr(ctypes.Structure):
    _fields_ = (("header", _Msghdr), ("len", ctypes.c_uint32))


def available() -> bool:
    """Whether this system has the batch calls, with the layout this file knows (Linux on 64 bits)."""
    return sys.platform == "linux" and ctypes.sizeof(_Mmsghdr) == 64 and hasattr(ctypes.CDLL(None), "recvmmsg")


class BatchSocket:
    """A bound UDP socket whose requests are answered in batches.

    Args:
        sock: bound and non-blocking.
        responder: what answers.
        largest: octets of the largest response it gives, at least 512.
        shield: limits the responses; None: they are not limited.
        query_log: writes some questions down; None: none.
    """

    def __init__(
        self,
        sock: socket.socket,
        responder: Responder,
        largest: int,
        shield: Shield | None = None,
        query_log: QueryLog | None = None,
    ) -> None:
        self._sock = sock
        self._responder = responder
        self._counters = responder.counters
        self._shield = shield
        self._query_log = query_log
        self._full = 0
        # Where the address itself stands in a socket address (ip(7), ipv6(7)).
        self._ip_at, self._ip_end = (4, 8) if sock.family == socket.AF_INET else (8, 24)
        self._slot = slot = largest + _ANSWER_ROOM
        libc = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg = libc.recvmmsg
        self._recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
        self._sendmmsg = libc.sendmmsg
        self._sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
        self._data = bytearray(slot * _SLOTS)
        self._addresses = (ctypes.c_char * (_ADDRESS * _SLOTS))()
        self._controls = (ctypes.c_char * (_CONTROL * _SLOTS))()
        control = _control_size(sock)
        # Kept although only the kernel looks at them: the vectors hold their addresses.
        self._receive_iov, self._receive_vector = self._vector(_CONTROL if control else 0)
        self._send_iov, self._send_vector = self._vector(control)
        # The two numbers that change with every datagram, as flat arrays: what came in, and what goes out.
        self._received = memoryview(self._receive_vector).cast("B").cast("I")
        self._sizes = memoryview(self._send_iov).cast("B").cast("Q")
        self._control_sizes = memoryview(self._receive_vector).cast("B").cast("Q") if control else None
        self._interfaces = memoryview(self._controls).cast("B").cast("I")
        self._interface_at = (_HEADER_OF_CONTROL + _interface_at(sock)) // 4
        self._view = memoryview(self._data)
        # Where each slot and what follows its id begin, and where its numbers stand in those arrays.
        self._places = [(i * slot, i * slot + 2, i * 16 + 14, i * 2 + 1) for i in range(_SLOTS)]

    def _vector(self, control: int) -> tuple[Any, Any]:
        """An iovec and an mmsghdr for each slot, over the shared buffers."""
        iov = (_Iovec * _SLOTS)()
        vector = (_Mmsghdr * _SLOTS)()
        data = ctypes.addressof((ctypes.c_char * len(self._data)).from_buffer(self._data))
        address_size = 16 if self._sock.family == socket.AF_INET else _ADDRESS
        for i in range(_SLOTS):
            iov[i].base, iov[i].len = data + i * self._slot, self._slot
            header = vector[i].header
            header.name, header.namelen = ctypes.addressof(self._addresses) + i * _ADDRESS, address_size
            header.iov, header.iovlen = ctypes.addressof(iov) + i * ctypes.sizeof(_Iovec), 1
            if control:
                header.control, header.controllen = ctypes.addressof(self._controls) + i * _CONTROL, control
        return iov, vector

    def on_readable(self) -> None:
        """Answer what has arrived, and return to the event loop when there is no more, or after ``_ROUNDS`` batches."""
        fd = self._sock.fileno()
        vector = ctypes.addressof(self._receive_vector)
        for _ in range(_ROUNDS):
            if self._control_sizes is not None:
                # The kernel wrote here how long each control message was; it wants to read how much room there is.
                for i in range(_SLOTS):
                    self._control_sizes[i * 8 + 5] = _CONTROL
            count = self._recvmmsg(fd, vector, _SLOTS, socket.MSG_DONTWAIT, None)
            if count <= 0:
                return
            if self._control_sizes is not None:
                for i in range(count):
                    self._interfaces[i * _CONTROL // 4 + self._interface_at] = 0
            begun = monotonic_ns()
            self._answer(fd, count)
            self._counters.took(monotonic_ns() - begun, count)
            if count < _SLOTS:
                return

    def _answer(self, fd: int, count: int) -> None:
        # One copy of the batch as bytes: its slices can be looked up, those of a buffer cannot.
        requests = bytes(self._view[: count * self._slot])
        self._count(requests, count)
        silent = self._write(requests, count) if self._shield is None else self._write_limited(requests, count)
        start = 0
        for gap in silent:
            self._send(fd, start, gap)
            start = gap + 1
        self._send(fd, start, count)
        if self._query_log is not None:
            self._log(self._query_log, requests, count, silent)

    def _count(self, requests: bytes, count: int) -> None:
        self._counters.udp += count
        full = count == _SLOTS
        if full:
            self._full += 1
            if self._full % FULL_EVERY:
                return
        received, exact = self._received, self._responder.cache.exact.get
        places = self._places[:count]
        self._counters.hits(
            [exact(requests[body : at + received[length_at]]) for at, body, length_at, _ in places], full=full
        )

    def _write(self, requests: bytes, count: int) -> list[int]:
        """Write each response over its request; the slots that get none."""
        view, received, sizes = self._view, self._received, self._sizes
        exact = self._responder.cache.exact.get
        silent = []
        for at, body, length_at, size_at in self._places[:count]:
            response = exact(requests[body : at + received[length_at]])
            if response is None:
                slot = at // self._slot
                response = self._miss(requests[at : at + received[length_at]], slot)
                if response is None:
                    silent.append(slot)
                    continue
            size = len(response) + 2
            view[body : at + size] = response
            sizes[size_at] = size
        return silent

    def _write_limited(self, requests: bytes, count: int) -> list[int]:
        """The same, with what the shield lets through."""
        view, received, sizes = self._view, self._received, self._sizes
        shield, responder = self._shield, self._responder
        assert shield is not None
        exact, kind_of, admits = responder.cache.exact.get, shield.kinds.get, shield.limiter.admits
        addresses = self._addresses.raw
        network_at = self._ip_at - _ADDRESS
        octets = IPV4_OCTETS if self._ip_end - self._ip_at == 4 else IPV6_OCTETS
        now = shield.clock()
        silent = []
        for slot, (at, body, length_at, size_at) in enumerate(self._places[:count]):
            network_at += _ADDRESS
            end = at + received[length_at]
            response = exact(requests[body:end])
            if response is None:
                response = self._miss(requests[at:end], slot)
                limited = response is not None and not responder.proven
            else:
                limited = True
            if limited and response is not None:
                # What ``Shield.judge`` does, without its cost for each.
                kind = kind_of(response) or shield.learn(requests[at:end], response)
                if not admits(addresses[network_at : network_at + octets] + kind, now):
                    response = shield.instead(requests[at:end], response, self._ip(slot), kind)
            if response is None:
                silent.append(slot)
                continue
            size = len(response) + 2
            view[body : at + size] = response
            sizes[size_at] = size
        return silent

    def _miss(self, request: bytes, slot: int) -> bytes | None:
        """The response, without its id, to a request that nobody made lately; None for silence, and for what is the
        steward's, who answers later."""
        responder = self._responder
        whole = responder.udp(request, self._ip(slot))
        if whole is not None:
            return whole[2:]
        if (relay := responder.relay) is not None and is_operation(request):
            self._hand_in(relay, request, slot)
        return None

    def _ip(self, slot: int) -> bytes:
        """The client's address, 4 or 16 octets."""
        start = slot * _ADDRESS
        return self._addresses.raw[start + self._ip_at : start + self._ip_end]

    def _log(self, query_log: QueryLog, requests: bytes, count: int, silent: list[int]) -> None:
        for slot in query_log.chosen(count):
            at, _, length_at, size_at = self._places[slot]
            request = requests[at : at + self._received[length_at]]
            response = None if slot in silent else bytes(self._view[at : at + self._sizes[size_at]])
            query_log.write(request, response, self._ip(slot), "udp")

    def _hand_in(self, relay: Relay, request: bytes, slot: int) -> None:
        """Have the steward answer a request, whose slot is needed for others meanwhile."""
        sock = self._sock
        client = client_of(self._addresses.raw[slot * _ADDRESS : (slot + 1) * _ADDRESS], sock.family)
        wild = self._control_sizes is not None
        control = control_of(self._controls.raw[slot * _CONTROL : (slot + 1) * _CONTROL]) if wild else []
        relay.datagram(request, client, lambda response: _reply(sock, response, control, client))

    def _send(self, fd: int, start: int, end: int) -> None:
        """Send the responses of slots ``start`` up to ``end``."""
        vector = ctypes.addressof(self._send_vector)
        while start < end:
            sent = self._sendmmsg(fd, vector + start * ctypes.sizeof(_Mmsghdr), end - start, socket.MSG_DONTWAIT)
            # A response that cannot go out is lost, as datagrams are: the client asks again. The others still go.
            start += sent if sent > 0 else 1


def _control_size(sock: socket.socket) -> int:
    """Octets of the control message that says to which address a datagram came; 0 for a socket bound to one address."""
    if sock.family == socket.AF_INET and sock.getsockname()[0] == "0.0.0.0":
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        return socket.CMSG_SPACE(12)
    if sock.family == socket.AF_INET6 and sock.getsockname()[0] == "::":
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        return socket.CMSG_SPACE(20)
    return 0


def _interface_at(sock: socket.socket) -> int:
    """Where in the control message's data the kernel says through which interface a datagram came: octets.

    That is set to 0 before it goes back: which way a response takes is for the routes to say. Through the interface of
    the request there may be none, where the ways to and fro differ.
    """
    return 0 if sock.family == socket.AF_INET else 16


class PlainSocket:
    """A bound UDP socket whose requests are answered one at a time, with what Python's own socket module has."""

    def __init__(
        self,
        sock: socket.socket,
        responder: Responder,
        largest: int,
        shield: Shield | None = None,
        query_log: QueryLog | None = None,
    ) -> None:
        self._sock = sock
        self._responder = responder
        self._shield = shield
        self._query_log = query_log
        self._control = socket.CMSG_SPACE(20) if _control_size(sock) else 0
        self._room = largest + _ANSWER_ROOM

    def on_readable(self) -> None:
        """Answer what has arrived, and return to the event loop when there is no more, or after as many as a batch
        socket takes.
        """
        sock = self._sock
        for _ in range(_ROUNDS * _SLOTS):
            try:
                request, control, _, client = sock.recvmsg(self._room, self._control)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # an ICMP error for an earlier response, told to us now
            begun = monotonic_ns()
            response = self._answer(request, socket.inet_pton(sock.family, client[0].partition("%")[0]))
            at = _interface_at(sock)
            control = [(level, kind, data[:at] + bytes(4) + data[at + 4 :]) for level, kind, data in control]
            if response is not None:
                _reply(sock, response, control, client)
            elif (relay := self._responder.relay) is not None and is_operation(request):
                relay.datagram(request, client, partial(_reply, sock, control=control, client=client))
            self._responder.counters.took(monotonic_ns() - begun, 1)

    def _answer(self, request: bytes, address: bytes) -> bytes | None:
        responder, shield = self._responder, self._shield
        responder.counters.udp += 1
        response = responder.udp(request, address)
        if response is not None and shield is not None and not responder.proven:
            body = shield.judge(request, response[2:], address, shield.clock())
            response = request[:2] + body if body is not None else None
        if self._query_log is not None and self._query_log.chosen(1):
            self._query_log.write(request, response, address, "udp")
        return response


def _reply(
    sock: socket.socket, response: bytes, control: list[tuple[int, int, bytes]], client: tuple[Any, ...]
) -> None:
    """Send one response; one that cannot go out is lost, as datagrams are."""
    with suppress(OSError):
        sock.sendmsg([response], control, 0, client)


def attach(
    sock: socket.socket,
    responder: Responder,
    largest: int,
    shield: Shield | None = None,
    query_log: QueryLog | None = None,
) -> Callable[[], None]:
    """What to call when the socket is readable: by the batch where the system can."""
    kind = BatchSocket if available() else PlainSocket
    return kind(sock, responder, largest, shield, query_log).on_readable
