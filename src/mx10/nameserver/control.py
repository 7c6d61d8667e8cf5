"""What the supervisor tells its workers: zones that changed, as frames on a socket pair.

A frame is a length (4 octets), the length of an apex (1 octet), the apex, and the packed zone, empty where the zone is
gone. An empty apex (no zone has it) is the order to read the certificate for TLS again. Both ends are ours: nothing
here is hostile.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final

_LENGTH: Final = Struct("!I")
RENEW: Final = b"\0\0\0\1\0"
"""The frame that orders to read the certificate again."""
READY: Final = b"\1"
"""The one octet a worker says: it answers now."""


def frame(apex: bytes, packed: bytes | None) -> bytes:
    """A change to one zone; None where the zone is gone."""
    body = bytes((len(apex),)) + apex + (packed or b"")
    return _LENGTH.pack(len(body)) + body


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
