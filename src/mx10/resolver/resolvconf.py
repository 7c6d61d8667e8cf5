"""The system's resolver configuration: ``/etc/resolv.conf``, read as resolv.conf(5) of the GNU C library says.

Like there, a line that means nothing is passed over: the file belongs to the system, and a resolver that gives up over
it helps nobody.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final

PATH: Final = Path("/etc/resolv.conf")
MAX_SERVERS: Final = 3
MAX_NDOTS: Final = 15
MAX_TIMEOUT: Final = 30
MAX_ATTEMPTS: Final = 5
_MAX_OCTETS: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """What the file says.

    Attributes:
        servers: addresses, in order; three at most.
        search: domains tried behind a short name, as text.
        ndots: a name with fewer dots is short.
        timeout: seconds to wait for one answer; None where the file does not say.
        attempts: rounds over all servers; None where the file does not say.
        rotate: begin with another server each time.
        trust_ad: believe the AD bit of these servers.
        edns0: ask with EDNS (mx10 always does).
        use_vc: ask over TCP.
        single_request: ask about one name one question after the other: some servers answer only one of two.
    """

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout: float | None = None
    attempts: int | None = None
    rotate: bool = False
    trust_ad: bool = False
    edns0: bool = False
    use_vc: bool = False
    single_request: bool = False


def read(path: Path = PATH, environ: Mapping[str, str] | None = None) -> ResolvConf:
    """The system's configuration; a file that is not there or not readable counts as empty.

    Args:
        environ: LOCALDOMAIN and RES_OPTIONS in it change the file's values; the process's own by default.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_OCTETS).decode("utf-8", "replace")
    except OSError:
        text = ""
    return parse(text, os.environ if environ is None else environ)


def parse(text: str, environ: Mapping[str, str]) -> ResolvConf:
    """What a text in the form of resolv.conf says; without any server, the one on this machine is asked."""
    found = ResolvConf()
    for line in text.splitlines():
        if line.startswith(("#", ";")):
            continue
        keyword, *values = line.split()[:64] or [""]
        match keyword:
            case "nameserver" if values and len(found.servers) < MAX_SERVERS and _is_address(values[0]):
                found = replace(found, servers=(*found.servers, values[0]))
            case "search" | "domain" if values:
                # The later of the two counts (resolv.conf(5)); "domain" names one.
                found = replace(found, search=tuple(values if keyword == "search" else values[:1]))
            case "options":
                found = _with_options(found, values)
    if local := environ.get("LOCALDOMAIN", "").split():
        found = replace(found, search=tuple(local))
    found = _with_options(found, environ.get("RES_OPTIONS", "").split())
    return found if found.servers else replace(found, servers=("127.0.0.1",))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _with_options(found: ResolvConf, options: list[str]) -> ResolvConf:
    for option in options:
        name, _, value = option.partition(":")
        number = int(value) if value.isascii() and value.isdigit() and len(value) < 6 else None
        match name:
            case "ndots" if number is not None:
                found = replace(found, ndots=min(number, MAX_NDOTS))
            case "timeout" if number:
                found = replace(found, timeout=min(number, MAX_TIMEOUT))
            case "attempts" if number:
                found = replace(found, attempts=min(number, MAX_ATTEMPTS))
            case "rotate":
                found = replace(found, rotate=True)
            case "trust-ad":
                found = replace(found, trust_ad=True)
            case "edns0":
                found = replace(found, edns0=True)
            case "use-vc" | "tcp":
                # The second is OpenBSD's word for it.
                found = replace(found, use_vc=True)
            case "single-request":
                # single-request-reopen asks for a socket for each question, which they have here anyway.
                found = replace(found, single_request=True)
    return found
