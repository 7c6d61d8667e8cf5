"""What to ask of the drawn zones: every name and its neighbours, every sort of type, every way to dress a question."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import dns.name
import dns.rdatatype

from peers.asking import question
from peers.differential.zones import OUTSIDE, Draft, on_wire

TYPES = (
    "A", "A", "A", "MX", "MX", "MX", "TXT", "NS", "SOA", "AAAA", "CNAME", "DNAME", "SRV", "DS", "ANY", "PTR", "CAA",
    "HTTPS", "NAPTR",
    "TYPE65280", "TYPE1234", "NSEC", "RRSIG", "DNSKEY", "RP", "URI", "LOC", "HINFO",
)  # fmt: skip
"""Types to draw from; those that mail lives by more often."""

RD, AD, CD = 0x0100, 0x0020, 0x0010


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: what is asked, how it is dressed (in words, for reports), and its bytes."""

    name: dns.name.Name
    rrtype: int
    klass: int
    dress: str
    wire: bytes
    payload: int | None = None
    """The EDNS payload size offered, None without EDNS."""

    def __str__(self) -> str:
        kind = dns.rdatatype.to_text(dns.rdatatype.RdataType.make(self.rrtype))
        klass = "" if self.klass == 1 else f" class {self.klass}"
        return f"{self.name} {kind}{klass} [{self.dress}]"

    @property
    def key(self) -> tuple[bytes, int]:
        """Folded name and type."""
        return on_wire(self.name.canonicalize()), self.rrtype


def draw_questions(drafts: list[Draft], count: int, seed: int, *, do: bool = False) -> list[Asked]:
    """``count`` questions about the zones: each name once if there is room for it, then all over again.

    Arguments:
        do: the DO bit goes with every OPT record, and not with some only.
    """
    chance = random.Random(seed)
    names = [name for draft in drafts for name in draft.names()]
    names += list(_neighbours(names, chance))
    chance.shuffle(names)
    asked: list[Asked] = []
    while len(asked) < count:
        for name in names:
            if len(asked) >= count:
                break
            asked.append(dress(name, dns.rdatatype.from_text(chance.choice(TYPES)), chance, always_do=do))
    return asked


def _neighbours(names: list[dns.name.Name], chance: random.Random) -> Iterator[dns.name.Name]:
    """Names near those that exist: below, above, beside, and outside all zones."""
    for name in names:
        kind = chance.randrange(6)
        try:
            if kind == 0:
                yield dns.name.Name((b"below", *name.labels))
            elif kind == 1 and len(name) > 2:
                yield name.parent()
            elif kind == 2:
                yield dns.name.Name((name.labels[0][:62] + b"0", *name.labels[1:]))
            elif kind == 3:
                yield dns.name.Name((b"*", *name.labels))
        except dns.name.NameTooLong:
            continue
    yield dns.name.root
    for text in ("test.", "invalid.", OUTSIDE, "one.tests.", "xone.test.", "example.", "com.", "notld."):
        yield dns.name.from_text(text)


def dress(name: dns.name.Name, rrtype: int, chance: random.Random, *, always_do: bool = False) -> Asked:
    """A question with random case (0x20), RD, and EDNS with this and that."""
    flags = chance.choice((0, 0, RD, RD | AD, CD))
    words = [word for bit, word in ((RD, "rd"), (AD, "ad"), (CD, "cd")) if flags & bit]
    spelled = name if chance.random() < 0.7 else _other_case(name, chance)
    if spelled is not name:
        words.append("0x20")
    payload = chance.choice((None, None, 0, 512, 1232, 1232, 1232, 4096, 65535))
    do, options, edns_flags = False, [], 0
    if payload is not None:
        words.append(f"edns {payload}")
        do = chance.random() < 0.3 or always_do
        if do:
            words.append("do")
        if chance.random() < 0.1:
            options.append((65001, b"unknown"))
            words.append("unknown option")
        if chance.random() < 0.1:
            edns_flags = 0x0008
            words.append("unknown edns flag")
    wire = question(
        on_wire(spelled), int(rrtype), flags=flags, payload=payload, do=do, options=options, edns_flags=edns_flags
    )
    return Asked(name, int(rrtype), 1, " ".join(words) or "plain", wire, payload)


def _other_case(name: dns.name.Name, chance: random.Random) -> dns.name.Name:
    return dns.name.Name(
        tuple(
            bytes(octet ^ 0x20 if bytes((octet,)).isalpha() and chance.random() < 0.5 else octet for octet in label)
            for label in name.labels
        )
    )


def odd_questions(drafts: list[Draft]) -> list[Asked]:
    """Questions out of the ordinary: opcodes, classes, types that ask for an operation, versions, broken packets."""
    apex = dns.name.from_text(drafts[0].apex)
    wire_name = on_wire(apex)
    odd: list[Asked] = []

    def put(dressed: str, wire: bytes, rrtype: int = 6, klass: int = 1, payload: int | None = None) -> None:
        odd.append(Asked(apex, rrtype, klass, dressed, wire, payload))

    for opcode in range(1, 16):
        put(f"opcode {opcode}", question(wire_name, "SOA", flags=opcode << 11))
        put(f"opcode {opcode} edns", question(wire_name, "SOA", flags=opcode << 11, payload=1232), payload=1232)
    for klass in (2, 3, 4, 254, 255, 0, 65280):
        for kind in (6, 16, 255):
            put("class", question(wire_name, kind, klass=klass), kind, klass)
    for version in (1, 5, 255):
        put(f"edns version {version}", question(wire_name, "SOA", payload=1232, version=version), payload=1232)
        many = question(wire_name, "SOA", payload=1232, version=version, do=True, options=[(65001, b"x")])
        put(f"edns version {version} option do", many, payload=1232)
    for kind in (0, 41, 249, 250, 251, 252, 253, 254, 32768, 65535):
        put("meta type", question(wire_name, kind), kind)
        put("meta type edns", question(wire_name, kind, payload=1232), kind, payload=1232)
    for code, value in (
        (3, b""),
        (8, b"\0\1\x18\0\xc0\0\2"),
        (10, b"12345678"),
        (11, b""),
        (12, b"\0" * 20),
        (15, b"\0\0"),
        (5, b"\1\2"),
    ):
        wire = question(wire_name, "SOA", payload=1232, options=[(code, value)])
        put(f"edns option {code}", wire, payload=1232)
    # At an apex the upper side of the cut answers for DS, whether or not it knows of the cut; behind an alias as well.
    for draft in drafts:
        for text in (draft.apex, "c-apex." + draft.apex):
            name = dns.name.from_text(text)
            odd.append(Asked(name, 43, 1, "plain", question(on_wire(name), "DS")))
    put("Z bit", question(wire_name, "SOA", flags=0x0040))
    put("TC bit", question(wire_name, "SOA", flags=0x0200))
    put("AA bit", question(wire_name, "SOA", flags=0x0400))
    put("RA bit", question(wire_name, "SOA", flags=0x0080))
    put("all but QR", question(wire_name, "SOA", flags=0x07F0))
    put("rcode in the question", question(wire_name, "SOA", flags=0x0005))
    put("QR set", question(wire_name, "SOA", flags=0x8000))
    plain, dressed = question(wire_name, "SOA"), question(wire_name, "SOA", payload=1232)
    put("no question", plain[:4] + b"\0\0" + plain[6:12])
    put("two questions", plain[:4] + b"\0\2" + plain[6:] + plain[12:])
    put("one octet short", plain[:-1])
    put("header alone", plain[:12])
    put("eleven octets", plain[:11])
    put("trailing octets", plain + b"\0\0\0")
    put("two OPT records", dressed[:10] + b"\0\2" + dressed[12:] + dressed[-11:], payload=1232)
    put("OPT cut off", dressed[:-4], payload=1232)
    put("OPT not at the root", dressed[:-11] + b"\1x" + dressed[-11:], payload=1232)
    put("option longer than OPT", dressed[:-2] + b"\0\4" + b"\0\3\0\x09", payload=1232)
    put("answer in the question", plain[:6] + b"\0\1" + plain[8:] + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\1\2\3\4")
    put("name loops", plain[:12] + b"\xc0\x0c\0\6\0\1")
    put("label of 64", plain[:12] + b"\x40" + b"x" * 64 + b"\0\0\6\0\1")
    put("name of 256", plain[:12] + (b"\x3f" + b"x" * 63) * 4 + b"\0\0\6\0\1")
    return odd
