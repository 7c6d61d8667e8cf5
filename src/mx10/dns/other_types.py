"""Types we have no layout for, by way of dnspython: it knows the data of every type that has a specification.

Imported only where such a type is met, since loading dnspython takes longer than many a command. Its many kinds of
error leave here as ours.
"""

from collections.abc import Sequence

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype

from mx10.dns import rrtypes as rr
from mx10.dns.fields import RdataSyntaxError, Token, as_written


def is_known(rrtype: int) -> bool:
    """Whether the data of a type has a form."""
    number = dns.rdatatype.RdataType.make(rrtype)
    found = dns.rdata.get_rdata_class(dns.rdataclass.IN, number)  # type: ignore[no-untyped-call]  # untyped there
    return found is not None and not issubclass(found, dns.rdata.GenericRdata)


def from_text(rrtype: int, tokens: Sequence[Token], origin: bytes | None) -> bytes:
    """Data of a type from the words of a master file; ``origin`` completes relative names.

    Raises:
        RdataSyntaxError: they are no such data, or the type has no form.
    """
    first = tokens[0] if tokens else None
    name = rr.type_to_text(rrtype)
    if not is_known(rrtype):
        what = f"the data of {name} has no form that is known here"
        raise RdataSyntaxError(what, "write it as \\# length hex (RFC 3597 section 5)", first)
    completed = dns.name.from_wire(origin, 0)[0] if origin else dns.name.root
    number = dns.rdatatype.RdataType.make(rrtype)
    # dnspython reports bad text by many types: DNSException, ValueError, OverflowError, struct.error and more.
    try:
        text = as_written(tokens)
        value = dns.rdata.from_text(dns.rdataclass.IN, number, text, origin=completed, relativize=False)
        return value.to_wire() or b""
    except Exception as error:
        what = f"these words are not the data of {name}: {_reason(error)}"
        raise RdataSyntaxError(what, f"write it as the specification of {name} says", first) from None


def to_text(rrtype: int, rdata: bytes) -> str:
    """Data of a type as text.

    Raises:
        ValueError: it is no such data, or the type has no form.
    """
    if not is_known(rrtype):
        raise ValueError("no form is known")
    number = dns.rdatatype.RdataType.make(rrtype)
    # As above: many types, one meaning.
    try:
        return str(dns.rdata.from_wire(dns.rdataclass.IN, number, rdata, 0, len(rdata)).to_text())
    except Exception as error:
        raise ValueError(_reason(error)) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
