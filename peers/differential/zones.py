"""Zones drawn by a seed: every construction that answers may go wrong on, several times and in varying company.

A zone is a ``Draft``; each ``_feature`` function below adds one construction under labels of its own, so that any of
them can meet in one zone without being in each other's way. Every zone must be one that all servers load: what
differs between them is answers, not what they think of master files.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import dns.name

from peers.signing import Denial, sign

DENIALS: tuple[Denial, ...] = ("nsec", "nsec3", "nsec3-opt-out")
OUTSIDE = "elsewhere.invalid."
"""A domain that none of the servers has."""
SERVED = (
    "tld",
    "alpha.tld",
    "child.alpha.tld",
    "grand.child.alpha.tld",
    "beta.tld",
    "one.test",
    "two.test",
    "three.test",
    "sub.one.test",
    "four.example",
    "Mixed-Case.Example",
    "x--y.five.example",
)
"""The zones; some are above others, with and without a delegation between them."""


@dataclass(slots=True)
class Draft:
    """A zone being drawn: its name, its records, and names worth asking about that no record has."""

    apex: str
    chance: random.Random
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    curious: list[str] = field(default_factory=list)
    signed: str = ""
    """The master file after it was signed."""
    _ttls: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, owner: str, rrtype: str, *datas: str) -> None:
        """Records of one owner and type; one TTL for all of them (RFC 2181 section 5.2)."""
        for data in datas:
            self.lines.append((owner, rrtype, data))
            self._ttls.setdefault((owner.lower(), rrtype), self.chance.choice((0, 60, 300, 3600, 86400, 604800)))

    def ask(self, *owners: str) -> None:
        """Names to ask about, relative to the apex."""
        self.curious.extend(owners)

    def text(self) -> str:
        """The master file; the SOA record first."""
        return "".join(
            f"{owner} {self._ttls[owner.lower(), rrtype]} IN {rrtype} {data}\n" for owner, rrtype, data in self.lines
        )

    def names(self) -> list[dns.name.Name]:
        """All owners and the curious names, absolute, each once."""
        origin = dns.name.from_text(self.apex)
        found = {}
        for owner in [*(line[0] for line in self.lines), *self.curious]:
            name = dns.name.from_text(owner, origin)
            found[name] = name
        return list(found)


def on_wire(name: dns.name.Name) -> bytes:
    """An absolute name as octets (dnspython's own ``to_wire`` may return None, by its type)."""
    return b"".join(bytes((len(label),)) + label for label in name.labels)


def draw(seed: int) -> list[Draft]:
    """All zones of a seed."""
    chance = random.Random(seed)
    return [_zone(apex, random.Random(chance.getrandbits(64))) for apex in SERVED]


def write(drafts: list[Draft], folder: Path, *, signed: bool = False) -> None:
    """One master file a zone; signed, they prove what is not there in each way by turns."""
    for number, draft in enumerate(drafts):
        path = folder / f"{draft.apex.lower()}.zone"
        denial = DENIALS[number % 3]
        if signed and denial != "nsec":
            # Below the longest names there is no room for a wildcard, and dnssec-signzone gives up.
            origin = dns.name.from_text(draft.apex)
            draft.lines = [line for line in draft.lines if len(on_wire(dns.name.from_text(line[0], origin))) < 254]
        path.write_text(f"$ORIGIN {draft.apex}.\n{draft.text()}", encoding="ascii")
        if signed:
            sign(path, draft.apex.lower() + ".", denial=denial)
            # What is true in the zone is what stands there now.
            draft.signed = path.read_text(encoding="ascii")


def _zone(apex: str, chance: random.Random) -> Draft:
    draft = Draft(apex, chance)
    minimum = chance.choice((0, 30, 900, 7200))
    draft.add(
        "@",
        "SOA",
        f"ns1 host\\.master.{apex}. {chance.randrange(1, 1 << 32)} 7200 3600 1209600 {minimum}",
    )
    draft.add("@", "NS", *chance.sample(("ns1", "NS2", f"ns.{OUTSIDE}", "ns1.four.example."), chance.randrange(1, 4)))
    draft.add("ns1", "A", "192.0.2.1")
    draft.add("ns1", "AAAA", "2001:db8::1")
    draft.add("ns2", "A", "192.0.2.2")
    _delegations_to_zones_here(draft)
    for feature in _FEATURES:
        if chance.random() < 0.75:
            feature(draft)
    draft.ask("nothing", "a.b.c.nothing", "*", "x.*", "ns1.ns1", "\\000", "zzzz")
    return draft


def _other(draft: Draft) -> str:
    """A name, most often in another zone: a host, nothing, a CNAME, a wildcard, a delegation, a DNAME, or below one."""
    zone = draft.chance.choice((*SERVED, OUTSIDE.rstrip("."), draft.apex))
    label = draft.chance.choice(
        (
            "h0",
            "h1",
            "h0",
            "nothing",
            "c0",
            "c-far0",
            "x.wild",
            "y.wild-c",
            "cut0",
            "below.cut0",
            "x.dn0",
            "a.ent",
            "cut-ds",
            "@",
        )
    )
    return f"{zone}." if label == "@" else f"{label}.{zone}."


def _delegations_to_zones_here(draft: Draft) -> None:
    """Parent and child on one server: a delegation where one belongs; from ``one.test`` to ``sub.one.test`` none is."""
    suffix = "." + draft.apex.lower()
    for zone in SERVED:
        label = zone.lower().removesuffix(suffix)
        if zone.lower().endswith(suffix) and "." not in label and zone != "sub.one.test":
            draft.add(label, "NS", f"ns1.{label}", f"ns.{OUTSIDE}")
            draft.add(f"ns1.{label}", "A", "192.0.2.1")
            if draft.chance.random() < 0.5:
                draft.add(label, "DS", "4711 13 2 " + "ab" * 32)
            draft.ask(f"h0.{label}", f"nothing.{label}")


def _hosts(draft: Draft) -> None:
    for number in range(draft.chance.randrange(1, 4)):
        draft.add(f"h{number}", "A", *(f"198.51.100.{number * 10 + at}" for at in range(draft.chance.randrange(1, 4))))
        if draft.chance.random() < 0.6:
            draft.add(f"h{number}", "AAAA", f"2001:db8:1::{number}")
    draft.add("only6", "AAAA", "2001:db8:6::6")
    draft.add("WwW", "A", "198.51.100.80")
    draft.ask("h9", "x.h0")


def _mail(draft: Draft) -> None:
    kinds = (
        ["10 h0", "10 h1", "20 only6"],
        ["0 ."],
        [f"5 mx.{OUTSIDE}", "10 h0"],
        ["10 ns1", "20 NS1", "65535 nothing"],
        [f"{preference} {_other(draft)}" for preference in (0, 10, 20)],
        [f"{preference} h0" for preference in range(40)],
        ["10 x.wild", "20 below.cut0", "30 ns.cut0", "40 c0"],
    )
    draft.add("@", "MX", *draft.chance.choice(kinds))
    for number, kind in enumerate(draft.chance.sample(kinds, 3)):
        draft.add(f"mail{number}", "MX", *kind)


def _services(draft: Draft) -> None:
    draft.add("_sip._tcp", "SRV", "10 60 5060 h0", "20 0 5060 ns2", f"30 0 5060 {_other(draft)}", "40 0 0 .")
    draft.add("_imap._tcp", "SRV", "0 1 143 @")
    draft.add("ptr", "PTR", "h0", _other(draft))
    draft.ask("_tcp", "_udp", "x._sip._tcp")


def _wildcards(draft: Draft) -> None:
    draft.add("*.wild", "A", "203.0.113.1", "203.0.113.2")
    draft.add("*.wild", "MX", "10 h0", "20 x.wild")
    draft.add("*.wild", "TXT", '"wild"')
    draft.add("host.wild", "TXT", '"explicit"')
    draft.add("a.ent.wild", "A", "203.0.113.3")
    draft.add("*.wild-c", "CNAME", draft.chance.choice(("h0", _other(draft), "x.wild")))
    draft.add("*.below.ent2", "A", "203.0.113.4")
    draft.add("*.srv", "SRV", "1 2 3 x.wild")
    draft.ask(
        "x.wild",
        "x.y.wild",
        "*.wild",
        "x.*.wild",
        "host.wild",
        "x.host.wild",
        "ent.wild",
        "b.ent.wild",
        "wild",
        "X.WILD-c",
    )
    draft.ask("a.b.wild-c", "*.wild-c", "x.below.ent2", "below.ent2", "ent2", "y.ent2", "q.srv", "*.below.ent2")


def _star_inside(draft: Draft) -> None:
    """A star that is a name of its own with something below it (RFC 4592 section 2.2.1)."""
    draft.add("sub.*.star", "TXT", '"below the star"')
    draft.ask("x.star", "*.star", "star", "x.*.star", "sub.x.star", "sub.*.star")


def _non_terminals(draft: Draft) -> None:
    draft.add("a.b.c.ent", "A", "203.0.113.9")
    draft.add("x.ent", "MX", "10 h0")
    draft.ask("ent", "c.ent", "b.c.ent", "z.c.ent", "z.b.c.ent", "z.a.b.c.ent", "ENT")


def _delegations(draft: Draft) -> None:
    for number, servers in enumerate(
        draft.chance.sample(
            (
                ["ns.cut{0}"],
                ["ns.cut{0}", "ns2.cut{0}", f"ns.{OUTSIDE}"],
                ["ns1"],
                [f"ns.{OUTSIDE}"],
                ["ns1.four.example."],
                ["deep.ns.cut{0}", "ns.cut{0}"],
            ),
            4,
        )
    ):
        cut = f"cut{number}"
        draft.add(cut, "NS", *(server.format(number) for server in servers))
        for server in servers:
            if "cut" in server:
                draft.add(server.format(number), "A", f"203.0.113.{20 + number}")
                draft.add(server.format(number), "AAAA", f"2001:db8:c::{number}")
        if draft.chance.random() < 0.4:
            draft.add(cut, "DS", "1 8 2 " + "cd" * 32, "2 13 4 " + "ef" * 48)
        draft.ask(f"below.{cut}", f"a.b.{cut}", f"*.{cut}", f"ns.{cut}", f"NS.{cut.upper()}", f"{cut}x")
    # Glue that stands in the delegation next to it (sibling glue), and a delegation below an empty non-terminal.
    draft.add("cut-sib", "NS", "ns.cut-ds")
    draft.add("cut-ds", "NS", "ns.cut-ds", "ns.cut-sib")
    draft.add("ns.cut-ds", "A", "203.0.113.40")
    draft.add("ns.cut-sib", "AAAA", "2001:db8:c::40")
    draft.add("cut-ds", "DS", "3 15 2 " + "01" * 32)
    draft.add("cut.in.ent3", "NS", "ns1")
    draft.ask("x.cut-ds", "x.cut-sib", "in.ent3", "x.cut.in.ent3", "y.in.ent3")


def _big_delegation(draft: Draft) -> None:
    """Thirteen servers with long names: glue that does not fit everywhere (RFC 9471)."""
    servers = [f"nameserver-number-{number}.{'n' * 40}.bigcut" for number in range(13)]
    draft.add("bigcut", "NS", *servers)
    for number, server in enumerate(servers):
        draft.add(server, "A", f"203.0.113.{100 + number}")
        draft.add(server, "AAAA", f"2001:db8:b::{number}")
    draft.ask("x.bigcut")


def _aliases(draft: Draft) -> None:
    draft.add("c0", "CNAME", "h0")
    draft.add("c1", "CNAME", "c0")
    draft.add("C2", "CNAME", "C1")
    draft.add("c3", "CNAME", "c2")
    draft.add("c-far0", "CNAME", _other(draft))
    draft.add("c-far1", "CNAME", _other(draft))
    draft.add("c-far2", "CNAME", _other(draft))
    draft.add("c-far3", "CNAME", _other(draft))
    draft.add("c-out", "CNAME", f"www.{OUTSIDE}")
    draft.add("c-nx", "CNAME", "nothing")
    draft.add("c-nodata", "CNAME", "only6")
    draft.add("c-ent", "CNAME", "ent")
    draft.add("c-wild", "CNAME", "some.wild")
    draft.add("c-cut", "CNAME", "cut0")
    draft.add("c-below", "CNAME", "www.below.cut0")
    draft.add("c-dn", "CNAME", "h0.dn0")
    draft.add("c-apex", "CNAME", "@")
    draft.ask("x.c0")


def _alias_loops(draft: Draft) -> None:
    draft.add("self", "CNAME", "self")
    draft.add("loop1", "CNAME", "loop2")
    draft.add("loop2", "CNAME", "loop3")
    draft.add("loop3", "CNAME", "loop1")
    draft.add("to-loop", "CNAME", "loop1")


def _long_chain(draft: Draft) -> None:
    for number in range(30):
        draft.add(f"link{number}", "CNAME", f"link{number + 1}")
    draft.add("link30", "A", "203.0.113.30")


def _dnames(draft: Draft) -> None:
    draft.add("target.dn", "A", "203.0.113.50")
    draft.add("*.target2.dn", "MX", "10 h0")
    draft.add("dn0", "DNAME", draft.chance.choice((f"{draft.apex}.", "target2.dn", _other(draft))))
    draft.add("dn1", "DNAME", "dn")
    draft.add("dn1", "TXT", '"beside a DNAME"')
    draft.add("dn-out", "DNAME", f"sub.{OUTSIDE}")
    draft.add("dn-loop", "DNAME", "x.dn-loop")
    draft.add("dn-two", "DNAME", "dn1")
    draft.add("dn-c", "DNAME", "wild-c")
    draft.add("dn-nx", "DNAME", "nothing")
    draft.add("dn-long", "DNAME", ".".join(["l" * 60] * 3) + f".{draft.apex}.")
    draft.ask(
        "h0.dn0",
        "x.dn0",
        "target.dn1",
        "nothing.dn1",
        "x.target2.dn1",
        "www.dn-out",
        "a.dn-loop",
        "target.dn-two",
        "y.dn-c",
        "x.dn-nx",
    )
    draft.ask(
        "a.b.dn-out",
        "*.dn1",
        f"{'m' * 60}.dn-long",
        f"{'m' * 10}.dn-long",
        f"{'m' * 60}.{'m' * 60}.dn-long",
        "TARGET.DN1",
    )


def _texts(draft: Draft) -> None:
    draft.add("txt", "TXT", '"v=spf1 mx -all"', '""', '"two" "strings"', '"\\"quoted\\" \\\\ \\000\\255"', "bare")
    for size in (400, 450, 480, 520, 1100, 1150, 1180, 1240, 3000, 5000):
        whole, rest = divmod(size, 250)
        strings = ['"' + "t" * 250 + '"'] * whole + ['"' + "u" * rest + '"']
        draft.add(f"big{size}", "TXT", " ".join(strings))
    for count in (4, 9, 20, 60):
        draft.add(f"many{count}", "TXT", *(f'"record {number} {"x" * 60}"' for number in range(count)))
    draft.add("bigmx", "MX", *(f"{number} exchanger-with-a-long-name-{number}.mail" for number in range(25)))
    for number in range(25):
        draft.add(f"exchanger-with-a-long-name-{number}.mail", "A", f"203.0.113.{200 + number}")


def _rare_types(draft: Draft) -> None:
    draft.add("rare", "TYPE65280", "\\# 4 deadbeef", "\\# 0")
    draft.add("rare", "HINFO", '"CPU" "OS"')
    draft.add("rare", "CAA", '0 issue "ca.example"', '128 iodef "mailto:x@example"')
    draft.add("rare", "SSHFP", "4 2 " + "12" * 32)
    draft.add("rare", "NAPTR", f'10 20 "S" "SIP+D2U" "" _sip._tcp.{draft.apex}.')
    draft.add("rare", "LOC", "52 22 23.000 N 4 53 32.000 E -2.00m 1m 10000m 10m")
    draft.add("rare", "RP", "host.master txt")
    draft.add("rare", "AFSDB", "1 h0")
    draft.add("_25._tcp.rare", "TLSA", "3 1 1 " + "34" * 32)
    draft.add("svc", "HTTPS", '1 . alpn="h2"')
    draft.add("svc", "URI", '10 1 "https://example/"')
    draft.add("known-as-unknown", "TYPE1", "\\# 4 c0000201")


def _odd_names(draft: Draft) -> None:
    room = 255 - len(on_wire(dns.name.from_text(draft.apex)))
    labels = []
    while room > 0:
        length = min(63, room - 1)
        if room - 1 - length == 1:
            length -= 1
        labels.append("n" * length)
        room -= length + 1
    draft.add(".".join(labels), "A", "203.0.113.60")
    draft.add("L" * 63, "MX", "10 h0")
    draft.add("*." + "k" * 63, "TXT", '"wild below 63"')
    draft.add("dot\\.in.label", "A", "203.0.113.61")
    draft.add("space\\032here", "TXT", '"space"')
    draft.add("\\000nul", "A", "203.0.113.62")
    draft.add("\\255\\128high", "A", "203.0.113.63")
    draft.add("UPPER.Case", "A", "203.0.113.64")
    draft.add("at\\@sign", "TXT", '"at"')
    draft.add("_dmarc", "TXT", '"v=DMARC1; p=none"')
    draft.ask("in.label", "upper.CASE", "case", "m." + "k" * 63, "dot.in.label", "\\000nul.\\000nul")


_FEATURES: tuple[Callable[[Draft], None], ...] = (
    _hosts,
    _mail,
    _services,
    _wildcards,
    _star_inside,
    _non_terminals,
    _delegations,
    _big_delegation,
    _aliases,
    _alias_loops,
    _long_chain,
    _dnames,
    _texts,
    _rare_types,
    _odd_names,
)
