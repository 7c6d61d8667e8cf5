"""Zones of many shapes, to be signed by tests."""

import random
from collections.abc import Iterable
from functools import cache

from mx10.dns.wirename import from_text
from mx10.zones.dnssec.keys import KeySet, Role, SigningKey
from mx10.zones.dnssec.policy import Denial, KeyStyle, Policy
from mx10.zones.dnssec.work import Arrangement
from mx10.zones.zone import Zone, add_empty_nonterminals
from tests.zones.reading import load

NOW = 1_800_000_000
DS = "12345 13 2 " + "AB" * 32

SHAPES = {
    "plain": """\
www A 192.0.2.2
mail A 192.0.2.3
@ MX 10 mail
@ MX 20 Backup.Example.NET.
@ TXT "v=spf1 -all"
""",
    "no names but the apex": "",
    "empty non-terminals": f"""\
a.b.c.d A 192.0.2.1
x.c.d A 192.0.2.1
_25._tcp.mail TLSA 3 1 1 {"ab" * 32}
""",
    "wildcards": """\
* A 192.0.2.1
*.sub TXT x
sub.sub A 192.0.2.7
foo.*.deep A 192.0.2.8
*.*.two MX 0 a.example.net.
""",
    "delegations": f"""\
sub NS ns1.sub
sub NS ns.deep.below.sub
sub DS {DS}
ns1.sub A 192.0.2.5
ns.deep.below.sub A 192.0.2.6
insecure NS ns.insecure
ns.insecure AAAA 2001:db8::1
zz NS ns.zz.example.org.
ent.under.here NS ns9.example.org.
other.under.secure NS ns9.example.org.
other.under.secure DS {DS}
""",
    "glue at the cut": """\
sub NS sub
sub A 192.0.2.9
sub AAAA 2001:db8::9
""",
    "delegations first and last": """\
0 NS ns.0
ns.0 A 192.0.2.1
zzz NS ns.zzz
ns.zzz A 192.0.2.1
""",
    "redirected": """\
d DNAME example.org.
d TXT x
alias CNAME www.example.org.
www A 192.0.2.1
""",
    "case": """\
WWW CNAME Www.EXAMPLE.org.
Srv SRV 1 2 3 TARGET.example.org.
P PTR Upper.Case.
N NAPTR 1 2 "U" "E2U+sip" "!A!B!" Repl.ACE.
R RP Admin.Example.ORG. Txt.Example.ORG.
K KX 1 Kx.Example.ORG.
F AFSDB 1 Afs.Example.ORG.
""",
    "escapes": r"""
a\.b A 192.0.2.1
\000 A 192.0.2.2
\001 A 192.0.2.3
\255\254 A 192.0.2.4
x\000y.z A 192.0.2.5
x.z A 192.0.2.1
\032 TXT "\000\255"
""",
    "an at sign": "\\@ A 192.0.2.9\n",
    "many records": "".join(f"big A 192.0.2.{number}\n" for number in range(200, 0, -1))
    + f"big TXT {' '.join([chr(34) + 'y' * 255 + chr(34)] * 20)}\n",
    "types": f"""\
t CAA 0 issue "ca.example.net"
t TYPE65280 \\# 3 abcdef
t TYPE1234 \\# 1 00
t HTTPS 1 . alpn=h2
t SSHFP 4 2 {"ab" * 32}
t HINFO "PC" "Linux"
t LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
""",
    "times": """\
short 1 A 192.0.2.1
long 2147483647 A 192.0.2.1
zero 0 A 192.0.2.1
""",
    "deep": ".".join("abcdefghijklmnopqrstuvwxyz" * 2) + " A 192.0.2.1\n",
}

HEAD = """\
$TTL 1h
@ SOA NS1 hostmaster 1 2h 30m 2w 5m
@ NS ns1
@ NS ns2.example.net.
ns1 A 192.0.2.1
"""


def zone_named(shape: str) -> Zone:
    """A zone of one of the shapes."""
    return zone_from(SHAPES[shape])


def zone_from(text: str, origin: str = "example.com.") -> Zone:
    """A zone with some records beside those every zone has."""
    loaded = load(f"$ORIGIN {origin}\n{HEAD}{text}", origin=from_text(origin))
    assert loaded.zone is not None, list(map(str, loaded.problems))
    return loaded.zone


ROLES: dict[KeyStyle, tuple[Role, ...]] = {"csk": ("csk",), "ksk+zsk": ("ksk", "zsk")}


@cache
def key_set(algorithm: int = 13, style: KeyStyle = "csk") -> KeySet:
    """Keys, made once for all tests."""
    return KeySet.plain(SigningKey.generate(algorithm, role) for role in ROLES[style])


def arrangement(algorithm: int = 13, keys: KeyStyle = "csk", denial: Denial = "nsec") -> Arrangement:
    """How a zone is signed."""
    return Arrangement(Policy(algorithm=algorithm, keys=keys, denial=denial), key_set(algorithm, keys))


def with_nonterminals(zone: Zone) -> Zone:
    """The zone with the names that only exist because others are below them."""
    nodes = {owner: node for owner, node in zone.nodes.items() if node}
    add_empty_nonterminals(zone.apex, nodes, 100_000)
    return Zone(zone.apex, nodes)


def steady(seed: int = 1) -> "random.Random":
    """Chance that is the same in every run."""
    return random.Random(seed)


def names(texts: Iterable[str]) -> list[bytes]:
    """Names relative to example.com, as octets."""
    origin = from_text("example.com.")
    return [from_text(text, origin) for text in texts]
