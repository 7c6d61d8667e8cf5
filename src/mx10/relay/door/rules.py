"""What rules about clients have in common."""

from typing import Final

_ALWAYS: Final = ("postmaster", "abuse")


def is_exempt(recipient: str) -> bool:
    """Whether mail for a recipient is taken whoever sends it: how else could somebody who is refused ask why (RFC 5321
    section 4.5.1, RFC 2142)? Limits hold for it all the same."""
    local, at, _ = recipient.rpartition("@")
    return (local if at else recipient).lower() in _ALWAYS
