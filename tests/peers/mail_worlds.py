"""Mail domains drawn by a seed, in all the shapes routing has a rule for, each a few lines as ``dns_world.World`` reads
them."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

OWN_ADDRESSES: Final = ("127.0.0.25", "fd00::25")
"""Those of the host that sends: an exchanger at one of them is the sender itself."""
NETWORKS: Final = ("127.0.0.0/8", "fd00::/8")
"""Where the exchangers are; nothing listens there."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``kind``: how it was drawn, for the message of a failing test; ``records``: what the DNS holds for it."""

    domain: str
    kind: str
    records: str


class _Drawing:
    """The names and addresses of one scenario: no other one has the same."""

    def __init__(self, rng: random.Random, number: int) -> None:
        self.rng = rng
        self.number = number
        self.domain = f"s{number}.test"
        self.hosts = 0
        self.lines: list[str] = []

    def host(self) -> str:
        self.hosts += 1
        return f"mx{self.hosts}.{self.domain}"

    def four(self) -> str:
        return f"127.{1 + self.number // 200}.{1 + self.number % 200}.{self.rng.randint(1, 250)}"

    def six(self) -> str:
        return f"fd00::{self.number + 1:x}:{self.rng.randint(1, 0xFFFE):x}"

    def add(self, owner: str, data: str) -> None:
        self.lines.append(f"{owner} {data}")

    def addresses(self, owner: str) -> None:
        """One to three addresses of either family or both."""
        families = self.rng.choice(["A", "A", "AAAA", "A AAAA", "A A", "A A AAAA", "A AAAA AAAA"])
        for family in families.split():
            self.add(owner, f"{family} {self.four() if family == 'A' else self.six()}")


def _plain(draw: _Drawing, host: str) -> None:
    draw.addresses(host)


def _empty(draw: _Drawing, host: str) -> None:
    draw.add(host, "TXT nothing")


def _gone(draw: _Drawing, host: str) -> None:
    """No record: the name does not exist."""


def _alias(draw: _Drawing, host: str) -> None:
    draw.add(host, f"CNAME host-of-{host}.")
    draw.addresses(f"host-of-{host}")


def _alias_of_nothing(draw: _Drawing, host: str) -> None:
    draw.add(host, f"CNAME gone.{host}.")


def _servfail(draw: _Drawing, host: str) -> None:
    draw.add(host, "! SERVFAIL")


def _half_servfail(draw: _Drawing, host: str) -> None:
    lost, found = draw.rng.choice([("A", "AAAA"), ("AAAA", "A")])
    draw.add(host, f"!{lost} SERVFAIL")
    draw.add(host, f"{found} {draw.four() if found == 'A' else draw.six()}")


def _itself(draw: _Drawing, host: str) -> None:
    address = draw.rng.choice(OWN_ADDRESSES)
    draw.add(host, f"{'AAAA' if ':' in address else 'A'} {address}")
    if draw.rng.random() < 0.3:
        draw.addresses(host)


_EXCHANGERS: Final[list[tuple[Callable[[_Drawing, str], None], int]]] = [
    (_plain, 20),
    (_empty, 3),
    (_gone, 3),
    (_alias, 3),
    (_alias_of_nothing, 1),
    (_servfail, 2),
    (_half_servfail, 2),
    (_itself, 3),
]


def _mx_set(draw: _Drawing, owner: str) -> None:
    """One to six exchangers of every kind; sometimes one of them twice."""
    kinds, weights = zip(*_EXCHANGERS, strict=True)
    preferences = draw.rng.choice([[0], [10], [0, 10], [0, 0, 10, 20], [1, 9, 10, 100], [0, 65535]])
    hosts = []
    for kind in draw.rng.choices(kinds, weights, k=draw.rng.randint(1, 6)):
        host = draw.host()
        hosts.append(host)
        draw.add(owner, f"MX {draw.rng.choice(preferences)} {host}.")
        kind(draw, host)
    if draw.rng.random() < 0.15:
        draw.add(owner, f"MX {draw.rng.choice([0, 5, 30])} {draw.rng.choice(hosts)}.")


def _several(draw: _Drawing) -> None:
    _mx_set(draw, draw.domain)


def _equal(draw: _Drawing) -> None:
    preference = draw.rng.choice([0, 10])
    for _ in range(draw.rng.randint(2, 6)):
        host = draw.host()
        draw.add(draw.domain, f"MX {preference} {host}.")
        draw.addresses(host)


def _null_mx(draw: _Drawing) -> None:
    draw.add(draw.domain, "MX 0 .")
    if draw.rng.random() < 0.5:
        draw.addresses(draw.domain)


def _null_mx_beside_others(draw: _Drawing) -> None:
    draw.add(draw.domain, "MX 0 .")
    _mx_set(draw, draw.domain)


def _shared_address(draw: _Drawing) -> None:
    address = draw.rng.choice([f"A {draw.four()}", f"AAAA {draw.six()}"])
    for _ in range(draw.rng.randint(2, 3)):
        host = draw.host()
        draw.add(draw.domain, f"MX {draw.rng.choice([0, 10])} {host}.")
        draw.add(host, address)


def _implicit(draw: _Drawing) -> None:
    draw.addresses(draw.domain)


def _implicit_itself(draw: _Drawing) -> None:
    _itself(draw, draw.domain)


def _no_mail(draw: _Drawing) -> None:
    draw.add(draw.domain, "TXT nothing")


def _nxdomain(draw: _Drawing) -> None:
    """No record."""


def _mx_servfail(draw: _Drawing) -> None:
    draw.add(draw.domain, "!MX SERVFAIL")
    draw.addresses(draw.domain)


def _mx_timeout(draw: _Drawing) -> None:
    draw.add(draw.domain, "!MX timeout")
    draw.addresses(draw.domain)


def _implicit_servfail(draw: _Drawing) -> None:
    draw.add(draw.domain, "TXT nothing")
    draw.add(draw.domain, "!A SERVFAIL")
    draw.add(draw.domain, "!AAAA SERVFAIL")


def _alias_with_mx(draw: _Drawing) -> None:
    steps = [draw.domain, *(f"step{at}.{draw.domain}" for at in range(draw.rng.randint(0, 2))), f"real.{draw.domain}"]
    for step, following in pairwise(steps):
        draw.add(step, f"CNAME {following}.")
    _mx_set(draw, steps[-1])


def _alias_of_host(draw: _Drawing) -> None:
    draw.add(draw.domain, f"CNAME real.{draw.domain}.")
    draw.addresses(f"real.{draw.domain}")


def _alias_gone(draw: _Drawing) -> None:
    draw.add(draw.domain, f"CNAME real.{draw.domain}.")


def _address_as_name(draw: _Drawing) -> None:
    draw.add(draw.domain, f"MX {draw.rng.choice([0, 10])} {draw.four()}.")
    if draw.rng.random() < 0.7:
        host = draw.host()
        draw.add(draw.domain, f"MX 10 {host}.")
        draw.addresses(host)


def _localhost(draw: _Drawing) -> None:
    draw.add(draw.domain, "MX 0 localhost.")
    if draw.rng.random() < 0.5:
        _several(draw)


_DOMAINS: Final[list[tuple[Callable[[_Drawing], None], int]]] = [
    (_several, 40),
    (_equal, 8),
    (_null_mx, 3),
    (_null_mx_beside_others, 2),
    (_shared_address, 3),
    (_implicit, 4),
    (_implicit_itself, 1),
    (_no_mail, 2),
    (_nxdomain, 2),
    (_mx_servfail, 2),
    (_mx_timeout, 1),
    (_implicit_servfail, 2),
    (_alias_with_mx, 5),
    (_alias_of_host, 2),
    (_alias_gone, 1),
    (_address_as_name, 3),
    (_localhost, 2),
]


def scenarios(seed: int, count: int) -> list[Scenario]:
    """So many domains, among them every kind at least once where there are as many as kinds."""
    rng = random.Random(seed)
    kinds, weights = zip(*_DOMAINS, strict=True)
    drawn = [*kinds, *rng.choices(kinds, weights, k=max(0, count - len(kinds)))][:count]
    found = []
    for number, kind in enumerate(drawn):
        draw = _Drawing(rng, number)
        kind(draw)
        # A record set holds no record twice (RFC 2181 section 5).
        records = "\n".join(dict.fromkeys(draw.lines))
        found.append(Scenario(draw.domain, kind.__name__.strip("_"), records))
    return found
