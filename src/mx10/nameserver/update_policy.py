"""Who may update what: the rules of a zone, in order; the first that fits a change decides, and without one it is
refused (RFC 3007 section 3).

A rule is written as::

    WHO grant|deny WHAT [NAME] [TYPE…]

WHO is an entry of an access list, as ``key:laptop.example`` or ``192.0.2.0/24+key:laptop.example``. WHAT is

``zonesub``         every name of the zone
``subdomain NAME``  NAME and what is below it
``name NAME``       NAME alone
``wildcard NAME``   the names that ``*.…`` stands for, by one label or more
``self``            the name that the key has
``selfsub``         the name that the key has, and what is below it

NAME is relative to the zone or whole, ``@`` the zone itself. Without types a rule is about all but SOA, NS and the
records of DNSSEC, as in BIND; ``ANY`` is all types.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mx10.dns import rrtypes as rr
from mx10.dns.message import Record
from mx10.dns.wirename import fold, is_under, to_text
from mx10.nameserver.access import AccessError, Entry, entry_from_text
from mx10.nameserver.updating import Look
from mx10.zones.typed import TypedError, owner_name, record_type

_WITH_NAME: Final = ("subdomain", "name", "wildcard")
_WITHOUT: Final = ("zonesub", "self", "selfsub")
_FORM: Final = "write WHO grant WHAT [NAME] [TYPE…], as in: key:laptop.example grant subdomain dyn A AAAA"

NOT_USUAL: Final = frozenset({
    rr.SOA, rr.NS, rr.RRSIG, rr.NSEC, rr.NSEC3, rr.NSEC3PARAM, rr.DNSKEY, rr.CDS, rr.CDNSKEY,
})  # fmt: skip
"""Types that a rule has to name."""


class PolicyError(ValueError):
    """A text that is no rule: what is wrong, and the form."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who sent an update.

    Attributes:
        address: the IP address it came from.
        key: the name (folded) of the key that signed it, verified; None without.
        tls: whether it came over TLS.
    """

    address: str
    key: bytes | None = None
    tls: bool = False

    def __str__(self) -> str:
        return self.address if self.key is None else f"key {to_text(self.key, final_dot=False)} from {self.address}"

    def admitted_by(self, who: Entry) -> bool:
        """Whether an entry of an access list means this client."""
        return who.admits(self.address, self.key, tls=self.tls)


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """One rule. ``types`` None: all but ``NOT_USUAL``; empty: all."""

    who: Entry
    grant: bool
    what: str
    name: bytes
    types: frozenset[int] | None

    def fits(self, owner: bytes, rrtype: int, client: Client) -> bool:
        """Whether the rule is about a change.

        Args:
            owner: folded.
            client: who asks for it.
        """
        if rrtype in NOT_USUAL if self.types is None else self.types and rrtype not in self.types:
            return False
        return self._names(owner, client.key) and client.admitted_by(self.who)

    def _names(self, owner: bytes, key: bytes | None) -> bool:
        match self.what:
            case "zonesub":
                return True
            case "subdomain":
                return is_under(owner, self.name)
            case "name":
                return owner == self.name
            case "wildcard":
                above = self.name[2:]
                return owner != above and is_under(owner, above)
            case "self":
                return owner == key
            case _:
                return key is not None and is_under(owner, key)


def rule_from_text(text: str, apex: bytes) -> UpdateRule:
    """Read a rule.

    Args:
        apex: the zone it is set for.

    Raises:
        PolicyError: it is none.
    """
    words = text.split()
    if len(words) < 3:
        raise PolicyError(f"{text[:100]!r} is no rule for updates: {_FORM}")
    who, verb, what, *rest = words
    if verb not in ("grant", "deny"):
        raise PolicyError(f"{text[:100]!r} is no rule for updates: {verb[:40]!r} is neither grant nor deny; {_FORM}")
    if what not in _WITH_NAME + _WITHOUT:
        known = ", ".join(_WITHOUT + _WITH_NAME)
        raise PolicyError(f"{text[:100]!r} is no rule for updates: {what[:40]!r} is none of {known}")
    try:
        entry = entry_from_text(who)
        name = apex
        if what in _WITH_NAME:
            if not rest:
                raise PolicyError(f"{text[:100]!r} is no rule for updates: a name follows {what}; {_FORM}")
            name = owner_name(rest.pop(0), apex)
        types = frozenset(record_type(word) for word in rest if word.upper() != "ANY")
    except (AccessError, TypedError) as error:
        raise PolicyError(f"{text[:100]!r} is no rule for updates: {error}") from None
    if what in ("self", "selfsub") and entry.key is None:
        raise PolicyError(f"{text[:100]!r} is no rule for updates: {what} needs a key, as in key:laptop.example")
    if what == "wildcard" and not name.startswith(b"\1*"):
        raise PolicyError(f"{text[:100]!r} is no rule for updates: write wildcard *.{to_text(name)}")
    if any(word.upper() == "ANY" for word in rest):
        types = frozenset()
    return UpdateRule(entry, verb == "grant", what, name, types if rest else None)


def is_known(rules: Iterable[UpdateRule], client: Client) -> bool:
    """Whether any rule grants a client anything. Nobody else's prerequisites are looked at: the answers would tell what
    the zone holds."""
    return any(rule.grant and client.admitted_by(rule.who) for rule in rules)


def refusal(
    rules: Sequence[UpdateRule],
    records: Iterable[Record],
    apex: bytes,
    client: Client,
    look: Look,
    generated: frozenset[int] = frozenset(),
) -> str:
    """Why an update may not be done; "" if it may.

    Args:
        records: its update section.
        look: the zone as it is: who removes a whole name needs a grant for each type it has.
        generated: types that updates leave alone (see ``updating.updated``).
    """
    for record in records:
        owner = fold(record.name)
        asked = [record.type]
        if record.type == rr.ANY:
            kept = generated | {rr.SOA, rr.NS} if owner == apex else generated
            asked = [rrtype for rrtype in look(owner) if rrtype not in kept]
        for rrtype in asked:
            fitting = next((rule for rule in rules if rule.fits(owner, rrtype, client)), None)
            if fitting is None or not fitting.grant:
                return f"no rule grants {rr.type_to_text(rrtype)} records of {to_text(owner)}"
    return ""
