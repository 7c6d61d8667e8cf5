"""A validator of our own for tests: what an answer proves, by the rules validators have (RFC 4035 section 5, RFC 5155
section 8), and nothing of the code that made it.

Messages, names, their order and signatures are dnspython's. It knows one zone and its keys, as a resolver does that has
walked there.
"""

from dataclasses import dataclass, field
from itertools import chain

import dns.dnssec
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype as t
import dns.rrset

STAR = dns.name.Name((b"*",))
OPT_OUT = 1


class BogusError(AssertionError):
    """What a validator would call bogus, or a record that should not stand in an answer."""


def check(condition: object, what: str) -> None:
    if not condition:
        raise BogusError(what)


@dataclass
class Validator:
    """Validates answers out of one signed zone.

    Args:
        apex: its name.
        keys: its DNSKEY set.
        now: seconds since 1970.
    """

    apex: dns.name.Name
    keys: dns.rrset.RRset
    now: float
    _sets: dict[tuple[dns.name.Name, int], dns.rrset.RRset] = field(default_factory=dict)
    _expanded: dict[dns.name.Name, dns.name.Name] = field(default_factory=dict)

    def validate(self, wire: bytes, name: dns.name.Name, rrtype: int) -> str:
        """What an answer proves: ``answer``, ``nxdomain``, ``nodata``, ``secure referral``, ``insecure referral``, or
        ``opted out`` where opt-out leaves open whether there is more.

        Raises:
            BogusError: it does not prove what it says.
        """
        message = dns.message.from_wire(wire)
        self._sets, self._expanded = {}, {}
        self._signed(message)
        for owner, encloser in self._expanded.items():
            check(self._covers_next_closer(owner, encloser), f"nothing proves that {owner} comes of a wildcard")
        at = name
        passed: set[dns.name.Name] = set()
        answers = {(rrset.name, rrset.rdtype) for rrset in message.answer}
        while at not in passed:
            passed.add(at)
            if rrtype in (t.ANY, t.RRSIG) and any(owner == at for owner, _ in answers):
                return "answer"
            if (at, rrtype) in answers:
                return "answer"
            aliases = [rrset for rrset in message.answer if rrset.name == at and rrset.rdtype == t.CNAME]
            if not aliases:
                break
            target: dns.name.Name = aliases[0][0].target
            at = target
        else:
            return "answer"  # a loop; whoever resolves sees it too
        if not at.is_subdomain(self.apex) or message.rcode() == dns.rcode.YXDOMAIN or len(message.answer) > 15:
            return "answer"
        cuts = [rrset.name for rrset in message.authority if rrset.rdtype == t.NS]
        if cuts:
            return self._referral(cuts[0], at)
        check((self.apex, t.SOA) in self._sets, "a negative answer without SOA")
        if message.rcode() == dns.rcode.NXDOMAIN:
            return self._no_name(at)
        return self._no_data(at, rrtype)

    # ------------------------------------------------------------ signatures

    def _signed(self, message: dns.message.Message) -> None:
        """Every record set is signed, but for what never is; none stands there twice."""
        seen = set()
        for section in (message.answer, message.authority, message.additional):
            sets = {(rrset.name, rrset.rdtype): rrset for rrset in section if rrset.rdtype != t.RRSIG}
            signatures = {(rrset.name, rrset.covers): rrset for rrset in section if rrset.rdtype == t.RRSIG}
            for key in chain(sets, ((name, rrtype, "RRSIG") for name, rrtype in signatures)):
                check(key not in seen, f"{key} stands there twice")
                seen.add(key)
            for (owner, rrtype), rrset in sets.items():
                signature = signatures.get((owner, rrtype))
                if signature is None:
                    check(self._goes_unsigned(message, section, rrset), f"{owner} {t.to_text(rrtype)} has no signature")
                    continue
                check(signature.ttl == rrset.ttl, f"the signature of {owner} has another TTL (RFC 4034 section 3)")
                self._sets[owner, rrtype] = rrset
                count = signature[0].labels
                if owner.is_wild() and count < len(owner) - 2:
                    # A star in a question, answered by a wildcard further up: legal, but dnspython refuses it.
                    wildcard = STAR + owner.split(count + 1)[1]
                    rrset = dns.rrset.from_rdata_list(wildcard, rrset.ttl, list(rrset))
                    signature = dns.rrset.from_rdata_list(wildcard, signature.ttl, list(signature))
                dns.dnssec.validate(rrset, signature, {self.apex: self.keys}, now=self.now)
                if count < len(owner) - 1 - owner.is_wild():
                    check(section is message.answer, f"{owner} comes of a wildcard and stands in no answer")
                    self._expanded[owner] = owner.split(count + 1)[1]

    def _goes_unsigned(
        self, message: dns.message.Message, section: list[dns.rrset.RRset], rrset: dns.rrset.RRset
    ) -> bool:
        if section is message.authority:
            return rrset.rdtype == t.NS and rrset.name != self.apex
        if section is message.additional:
            return any(ns.rdtype == t.NS for ns in message.authority)
        return rrset.rdtype == t.CNAME and any(
            dname.rdtype == t.DNAME and rrset.name.is_subdomain(dname.name) and rrset.name != dname.name
            for dname in message.answer
        )

    # ------------------------------------------------------------ what proofs say

    def _records(self, rrtype: int) -> list[dns.rrset.RRset]:
        return [rrset for (_, found), rrset in self._sets.items() if found == rrtype]

    @property
    def _hashed(self) -> bool:
        return bool(self._records(t.NSEC3))

    def _referral(self, cut: dns.name.Name, name: dns.name.Name) -> str:
        check(name.is_subdomain(cut) and cut != self.apex, "a referral beside the name")
        if (cut, t.DS) in self._sets:
            return "secure referral"
        types = self._types(cut)
        if types is None:
            check(self._hashed, "a delegation without DS and without proof")
            self._opted_out(cut)
            return "insecure referral"
        check(t.NS in types and t.DS not in types and t.SOA not in types, f"no proof that {cut} has no DS")
        return "insecure referral"

    def _no_data(self, name: dns.name.Name, rrtype: int) -> str:
        types = self._types(name)
        if types is None:
            encloser = self._closest_encloser(name)
            check(encloser is not None, f"no proof which types {name} has")
            assert encloser is not None
            if self._hashed and self._in_opt_out(_next_closer(name, encloser)):
                # An insecure delegation, or a name that is there only because of some below it.
                return "opted out"
            types = self._types(STAR + encloser)
            check(types is not None, f"nothing proves which types *.{encloser} has")
        assert types is not None
        check(rrtype not in types and t.CNAME not in types, f"the proof says that {name} has the type")
        at_cut = t.NS in types and t.SOA not in types
        check(not at_cut or rrtype == t.DS, f"{name} is delegated: its data are another's")
        return "nodata"

    def _no_name(self, name: dns.name.Name) -> str:
        check(self._types(name) is None, f"a record proves that {name} exists")
        encloser = self._closest_encloser(name)
        check(encloser is not None, f"no proof that {name} does not exist")
        assert encloser is not None
        if self._hashed and self._in_opt_out(_next_closer(name, encloser)):
            # The name may be below one that exists by insecure delegations only, to which no wildcard further up
            # applies; no record says so.
            return "opted out"
        check(self._is_covered(STAR + encloser), f"no proof that *.{encloser} does not exist")
        most = 3 if self._hashed else 2
        count = len(self._records(t.NSEC3) or self._records(t.NSEC))
        check(count <= most + 2 * len(self._expanded), f"{count} records where {most} are enough")
        return "nxdomain"

    def _types(self, name: dns.name.Name) -> set[int] | None:
        """The types a name has, where a record speaks of that name; empty where it only has names below it."""
        rrset = self._matching(name)
        if rrset is not None:
            return {
                window << 8 | octet << 3 | bit
                for window, bits in rrset[0].windows
                for octet, value in enumerate(bits)
                for bit in range(8)
                if value & 0x80 >> bit
            }
        if any(self._leads_past(each, name) and each[0].next.is_subdomain(name) for each in self._records(t.NSEC)):
            return set()
        return None

    def _matching(self, name: dns.name.Name) -> dns.rrset.RRset | None:
        return self._sets.get((self._hash(name), t.NSEC3)) if self._hashed else self._sets.get((name, t.NSEC))

    def _hash(self, name: dns.name.Name) -> dns.name.Name:
        parameters = self._records(t.NSEC3)[0][0]
        digest = dns.dnssec.nsec3_hash(name, parameters.salt, parameters.iterations, parameters.algorithm)
        return dns.name.Name((digest.lower().encode(), *self.apex.labels))

    def _leads_past(self, rrset: dns.rrset.RRset, name: dns.name.Name) -> bool:
        """Whether an NSEC record says that nothing stands where ``name`` would."""
        last = rrset[0].next == self.apex
        between = rrset.name < name and (last or name < rrset[0].next) and name.is_subdomain(self.apex)
        if between and name.is_subdomain(rrset.name):
            # What is below a delegation or a DNAME is not for this zone to deny (RFC 6840 section 4.1).
            windows = dict(rrset[0].windows)
            first = windows.get(0, b"")
            has = {bit for bit in (t.NS, t.SOA, t.DNAME) if len(first) > bit >> 3 and first[bit >> 3] & 0x80 >> bit % 8}
            return t.DNAME not in has and (t.NS not in has or t.SOA in has)
        return between

    def _is_covered(self, name: dns.name.Name) -> bool:
        if not self._hashed:
            return any(
                self._leads_past(each, name) and not each[0].next.is_subdomain(name) for each in self._records(t.NSEC)
            )
        return self._covering(name) is not None

    def _covering(self, name: dns.name.Name) -> dns.rrset.RRset | None:
        wanted = dns.dnssec.nsec3_hash(
            name, self._records(t.NSEC3)[0][0].salt, self._records(t.NSEC3)[0][0].iterations, 1
        ).lower()
        for rrset in self._records(t.NSEC3):
            owner = rrset.name.labels[0].decode().lower()
            following = dns.name.from_text(rrset[0].to_text().split()[4]).labels[0].decode().lower()
            if owner < wanted < following or (following <= owner and (wanted > owner or wanted < following)):
                return rrset
        return None

    def _closest_encloser(self, name: dns.name.Name) -> dns.name.Name | None:
        """The longest name above that is proved to exist, while the next closer is proved not to."""
        if self._hashed:
            encloser = name
            while encloser != self.apex:
                encloser = encloser.parent()
                if self._matching(encloser) is not None:
                    return encloser if self._is_covered(_next_closer(name, encloser)) else None
            return None
        for each in self._records(t.NSEC):
            if self._leads_past(each, name) and not each[0].next.is_subdomain(name):
                shared = [_common(name, other) for other in (each.name, each[0].next)]
                return max(shared, key=len)
        return None

    def _covers_next_closer(self, name: dns.name.Name, encloser: dns.name.Name) -> bool:
        if self._hashed:
            return self._is_covered(_next_closer(name, encloser))
        return self._closest_encloser(name) == encloser

    def _in_opt_out(self, name: dns.name.Name) -> bool:
        rrset = self._covering(name)
        return rrset is not None and bool(rrset[0].flags & OPT_OUT)

    def _opted_out(self, name: dns.name.Name) -> None:
        encloser = self._closest_encloser(name)
        check(encloser is not None, f"no closest encloser of {name}")
        assert encloser is not None
        check(self._in_opt_out(_next_closer(name, encloser)), f"{name} is not in a span that was left out")


def _next_closer(name: dns.name.Name, encloser: dns.name.Name) -> dns.name.Name:
    return name.split(len(encloser) + 1)[1]


def _common(one: dns.name.Name, other: dns.name.Name) -> dns.name.Name:
    while not one.is_subdomain(other):
        other = other.parent()
    return other
