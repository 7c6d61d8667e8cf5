"""What the supervisor tells its workers: zones that changed, as frames on a socket pair.

A frame is a length (4 octets), the length of an apex (1 octet), the apex, and the packed zone, empty where the zone is
gone. An empty apex (no zone has it) is the order to read the certificate for TLS again, and with octets behind it
brings the secrets for cookies. Both ends are ours: nothing here is hostile.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Final

from mx10.dns.cookies import SECRET_OCTETS

_LENGTH: Final = Struct("!I")
RENEW: Final = b"\0\0\0\1\0"
"""The frame that orders to read the certificate again."""
READY: Final = b"\1"
"""The one octet a worker says: it answers now."""


def frame(apex: bytes, packed: bytes | None) -> bytes:
    """A change to one zone; None where the zone is gone."""
    body = bytes((len(apex),)) + apex + (packed or b"")
    return _LENGTH.pack(len(body)) + body


def secrets_frame(secrets: Sequence[bytes]) -> bytes:
    """The secrets for cookies from now on, the one in use first."""
    return frame(b"", b"".join(secrets))


def read_secrets(body: bytes) -> tuple[bytes, ...]:
    """The secrets of such a frame."""
    return tuple(body[at : at + SECRET_OCTETS] for at in range(0, len(body), SECRET_OCTETS))


class FrameReader:
    """Frames out of a stream that is cut anywhere."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes | None]]:
        """The whole frames that these octets complete: apex and packed zone, None where it is gone."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= 4:
            end = at + 4 + _LENGTH.unpack_from(buffer, at)[0]
            if end > len(buffer):
                break
            body = bytes(buffer[at + 4 : end])
            apex_end = 1 + body[0]
            yield body[1:apex_end], body[apex_end:] or None
            at = end
        del buffer[:at]
