"""Asking a nameserver on loopback, byte for byte: the questions of tests and of readiness checks.

Kept apart from ``mx10.dns`` on purpose: a fault in our own codec must not hide itself when our answers are compared
with those of others.
"""

import select
import socket
import struct
import time
from collections.abc import Iterable, Sequence

TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "DNAME": 39, "DS": 43,
    "ANY": 255, "CAA": 257,
}  # fmt: skip
"""The record types that questions name by word; any other is given as a number."""


class NoAnswerError(Exception):
    """A server said nothing in the time given."""


def wire_name(name: str | bytes) -> bytes:
    """A name on the wire: from text without escapes ("www.example", "." for the root), or bytes as they are."""
    if isinstance(name, bytes):
        return name
    stripped = name.rstrip(".")
    if not stripped:
        return b"\0"
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in stripped.split(".")) + b"\0"


def question(
    name: str | bytes,
    rrtype: str | int,
    *,
    ident: int = 0,
    klass: int = 1,
    flags: int = 0,
    payload: int | None = None,
    do: bool = False,
    version: int = 0,
    edns_flags: int = 0,
    options: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """A question as bytes.

    Arguments:
        flags: the second word of the header as it is (RFC 1035 section 4.1.1), so that opcode and RD are the caller's.
        payload: the EDNS payload size in octets (RFC 6891); None asks without EDNS and ignores all that follows.
        edns_flags: further bits beside DO in the OPT record's flags, for servers to ignore (RFC 6891 section 6.1.4).
    """
    number = TYPES[rrtype] if isinstance(rrtype, str) else rrtype
    wire = (
        struct.pack("!6H", ident, flags, 1, 0, 0, 0 if payload is None else 1)
        + wire_name(name)
        + struct.pack("!HH", number, klass)
    )
    if payload is not None:
        data = b"".join(struct.pack("!HH", code, len(value)) + value for code, value in options)
        wire += (
            b"\0"
            + struct.pack("!HHBBHH", 41, payload, 0, version, (0x8000 if do else 0) | edns_flags, len(data))
            + data
        )
    return wire


def rcode_and_aa(wire: bytes) -> tuple[int, bool]:
    """Response code (the four bits of the header) and authoritative-answer bit."""
    flags = struct.unpack_from("!H", wire, 2)[0]
    return flags & 0xF, bool(flags & 0x0400)


def serial_of(wire: bytes) -> int | None:
    """The serial in an answer to a question for SOA without EDNS options; None if the answer has no record."""
    if struct.unpack_from("!H", wire, 6)[0] == 0:
        return None
    at = _after_name(wire, _after_name(wire, 12) + 4) + 10
    serial: int = struct.unpack_from("!I", wire, _after_name(wire, _after_name(wire, at)))[0]
    return serial


def _after_name(wire: bytes, at: int) -> int:
    while wire[at]:
        if wire[at] >= 0xC0:
            return at + 2
        at += wire[at] + 1
    return at + 1


def udp_socket(address: str, port: int) -> socket.socket:
    """A connected UDP socket with room for bursts of answers."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.connect((address, port))
    return sock


def ask(address: str, port: int, wire: bytes, *, timeout: float = 2.0) -> bytes:
    """One question over UDP, once.

    Raises:
        NoAnswerError: nothing with the question's identifier came within ``timeout`` seconds, or nobody listens.
    """
    with udp_socket(address, port) as sock:
        deadline = time.monotonic() + timeout
        try:
            sock.send(wire)
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(left)
                answer = sock.recv(65535)
                if answer[:2] == wire[:2]:
                    return answer
        except (ConnectionError, TimeoutError) as error:
            raise NoAnswerError(f"{address}:{port}: {error}") from error
    raise NoAnswerError(f"{address}:{port}: no answer in {timeout} s")


def ask_many(
    address: str, port: int, wires: Sequence[bytes], *, window: int = 32, timeout: float = 2.0
) -> list[bytes | None]:
    """Many questions over one UDP socket, ``window`` of them in flight; None where none came in ``timeout`` seconds.

    The identifiers are rewritten while in flight and put back in the answers.
    """
    answers: list[bytes | None] = [None] * len(wires)
    pending: dict[int, float] = {}
    waiting = iter(range(len(wires)))
    more = True
    with udp_socket(address, port) as sock:
        while True:
            while more and len(pending) < window:
                index = next(waiting, None)
                if index is None:
                    more = False
                    break
                try:
                    sock.send((index & 0xFFFF).to_bytes(2, "big") + wires[index][2:])
                except ConnectionError:
                    continue
                pending[index] = time.monotonic() + timeout
            if not pending:
                return answers
            readable, _, _ = select.select([sock], [], [], 0.05)
            if readable:
                try:
                    answer = sock.recv(65535)
                except ConnectionError:
                    answer = b""
                index = (
                    next((one for one in pending if one & 0xFFFF == int.from_bytes(answer[:2], "big")), None)
                    if len(answer) > 1
                    else None
                )
                if index is not None:
                    answers[index] = wires[index][:2] + answer[2:]
                    del pending[index]
            now = time.monotonic()
            for index in [one for one, deadline in pending.items() if deadline < now]:
                del pending[index]


def ask_tcp(address: str, port: int, wire: bytes, *, timeout: float = 5.0) -> bytes:
    """One question over a TCP connection of its own (RFC 7766).

    Raises:
        NoAnswerError: no connection, or it was closed or fell silent before the answer was whole.
    """
    try:
        with socket.create_connection((address, port), timeout=timeout) as sock:
            sock.sendall(struct.pack("!H", len(wire)) + wire)
            return _exactly(sock, int.from_bytes(_exactly(sock, 2), "big"))
    except OSError as error:
        raise NoAnswerError(f"{address}:{port} over TCP: {error}") from error


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise NoAnswerError("the connection was closed in the middle of an answer")
        data += piece
    return data
