"""From what a person types to a destination."""

from mx10.names import MailAddress, parse_destination
from mx10.routing.values import Destination


def destination_from_text(text: str) -> Destination:
    """A destination from a mail address, a domain or an address literal.

    Raises:
        ValueError: ``AddressError`` or ``DomainError``; it is none of these, and the message says why.
    """
    found = parse_destination(text)
    if isinstance(found, MailAddress):
        # A mail address has one of the two.
        return Destination(text, found.domain, None if found.literal is None else found.literal.packed)
    return Destination(text, domain=found) if isinstance(found, bytes) else Destination(text, literal=found.packed)
