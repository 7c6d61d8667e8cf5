"""Padding of responses that only the client can read (RFC 7830): their lengths tell less about what is in them."""

from typing import Final

from mx10.dns.message import HEADER, encode_opt, parse
from mx10.dns.wirename import WireError

BLOCK: Final = 468
"""Responses are as long as a multiple of so many octets (RFC 8467 section 4.1)."""
OPTION: Final = 12
"""Option code of padding."""
_MOST: Final = 0xFFFF
_OPTION_HEAD: Final = 4


def asks_for_padding(request: bytes) -> bool:
    """Whether a request has the option, and the response is to have it (RFC 7830 section 4)."""
    # Most have not, and reading a message takes longer than this.
    if b"\0\x0c" not in request[HEADER.size :]:
        return False
    try:
        edns = parse(request).edns
    except WireError:
        return False
    return edns is not None and any(code == OPTION for code, _ in edns.options)


def padded(response: bytes) -> bytes:
    """A response of ours, padded; as it is where it has no OPT record at its end, as those have none whose request had
    none."""
    try:
        message = parse(response)
    except WireError:
        return response
    if message.edns is None:
        return response
    opt = encode_opt(message.edns, message.rcode)
    if not response.endswith(opt) or any(code == OPTION for code, _ in message.edns.options):
        return response
    size = -(len(response) + _OPTION_HEAD) % BLOCK
    if len(response) + _OPTION_HEAD + size > _MOST:
        return response
    length = int.from_bytes(opt[9:11], "big") + _OPTION_HEAD + size
    head = response[: len(response) - len(opt)] + opt[:9] + length.to_bytes(2, "big") + opt[11:]
    return head + OPTION.to_bytes(2, "big") + size.to_bytes(2, "big") + bytes(size)
