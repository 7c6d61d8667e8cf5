#!/usr/bin/env python3
"""Questions a second and processor time a question: mx10 beside NSD, Knot, PowerDNS, BIND and a bare UDP echo in C.

All servers run at once, each pinned to the first processor with one worker and the same 10,000 zones, and idle while
another has its turn; the asking is done from the second processor. Before anything is timed, every server's answers to
a sample are compared. NSD stands there twice: as shipped it also sends NS records and their addresses.

It is asked twice: with dnsperf, which costs more a question than the faster servers do and so is the bottleneck, and
with bench/asker.c, which costs less.
"""

import contextlib
from collections.abc import Sequence

import common
import dns.message
from common import Asker, Dnsperf, Load, Spread, paired, say

from peers import AUTHORITATIVE, Echo, Mx10, Nsd, NsdMinimal, PeerError, Server, ask_many, question

WARM_UP = 5.0
"""Seconds in which every server gets through all questions."""
SAMPLE = 500
"""Questions whose answers are compared before the runs."""


def main() -> None:
    """Start all, compare their answers, measure in turns, print."""
    args = common.arguments(
        __doc__ or "",
        plain={"action": "store_true", "help": "ask without EDNS; most resolvers ask with it"},
        signed={"choices": ["nsec", "nsec3"], "default": None, "help": "sign the zones, and ask with the DO bit"},
        zones={"type": int, "default": None, "help": "how many zones (10,000)"},
        seconds={"type": float, "default": None, "help": "length of one turn (3)"},
    )
    count = args.zones or (500 if args.quick else 10_000)
    length = args.seconds or (1.0 if args.quick else 3.0)
    rounds = max(3, args.rounds or (3 if args.quick else 5))
    with common.folder() as here, contextlib.ExitStack() as running:
        zones = here / "zones"
        zones.mkdir()
        common.write_zones(zones, count)
        if args.signed:
            common.sign_zones(zones, args.signed)
        asked = common.questions(count, 20_000 if args.quick else 200_000)
        (here / "questions").write_text("".join(f"{name} {rrtype}\n" for name, rrtype in asked))
        perf = Dnsperf(here / "questions", edns=not args.plain, do=bool(args.signed))
        servers: list[Server] = []
        kinds: list[type[Server]] = [Mx10, Nsd, NsdMinimal, *AUTHORITATIVE[1:], Echo]
        for kind in kinds:
            say(f"starting {kind.name}")
            servers.append(running.enter_context(kind(zones, core=common.SERVER_CORE)))
        compare(
            [server for server in servers if not isinstance(server, Echo)],
            asked[:SAMPLE],
            args.plain,
            bool(args.signed),
        )
        for server in servers:
            say(f"warming up {server.name}")
            perf.once(server.address, server.port)
        dressed = "no EDNS" if args.plain else f"EDNS, DO, signed ({args.signed})" if args.signed else "EDNS"
        how = f"{count:,} zones, {dressed}, {rounds} rounds of {length:g} s"
        results, tables = {}, []
        payload = None if args.plain else 1232
        asker = common.Asker(here, [question(*each, payload=payload, do=bool(args.signed)) for each in asked])
        for server in servers:
            # Its questions differ from dnsperf's in their flags; who remembers answers has to meet these first, too.
            say(f"warming up {server.name} for the asker")
            asker.seconds(server.address, server.port, WARM_UP)
        for name, client in (("dnsperf", perf), ("asker", asker)):
            results[name], text = measure(servers, client, rounds, length)
            tables.append(f"Asked with {name}: {how}; median (lowest-highest)\n\n{text}")
        common.finish(
            args.json,
            {
                "benchmark": "questions",
                "unit": "questions/s",
                "how": how,
                **results["dnsperf"],
                "asker": results["asker"],
            },
            "\n\n".join(tables),
        )


def compare(servers: Sequence[Server], asked: Sequence[tuple[str, str]], plain: bool, do: bool) -> None:
    """See that all servers give the same response codes and answers.

    Raises:
        PeerError: one did not, naming the question.
    """
    wires = [question(name, rrtype, payload=None if plain else 1232, do=do) for name, rrtype in asked]
    seen: list[list[tuple[int, object]]] = []
    for server in servers:
        found: list[tuple[int, object]] = []
        for wire, (name, rrtype) in zip(ask_many(server.address, server.port, wires), asked, strict=True):
            if wire is None:
                raise PeerError(f"{server.name} did not answer {name} {rrtype}")
            answer = dns.message.from_wire(wire)
            found.append((int(answer.rcode()), {record.to_text() for rrset in answer.answer for record in rrset}))
        seen.append(found)
    for at, (name, rrtype) in enumerate(asked):
        for server, theirs in zip(servers, seen, strict=True):
            if theirs[at] != seen[0][at]:
                raise PeerError(f"{name} {rrtype}: {servers[0].name} says {seen[0][at]}, {server.name} {theirs[at]}")
    say(f"{len(asked)} answers compared: all {len(servers)} servers agree")


def measure(
    servers: Sequence[Server], client: Dnsperf | Asker, rounds: int, length: float
) -> tuple[dict[str, object], str]:
    """Turns in ``rounds`` rounds of ``length`` seconds: the figures, and a table of them."""
    loads: dict[str, list[Load]] = {server.name: [] for server in servers}
    costs: dict[str, list[float]] = {server.name: [] for server in servers}
    for number in range(rounds):
        for server in common.turns(servers, number):
            before = server.cpu_seconds()
            load = client.seconds(server.address, server.port, length)
            cost = (server.cpu_seconds() - before) / max(load.completed, 1) * 1e6
            loads[server.name].append(load)
            costs[server.name].append(cost)
            say(f"round {number + 1}/{rounds} {server.name:9} {load.rate:9,.0f} q/s {cost:6.2f} µs lost {load.lost}")
    rates = {name: [load.rate for load in every] for name, every in loads.items()}
    rows = []
    for server in servers:
        name = server.name
        every = loads[name]
        rows.append(
            [
                server.version(),
                Spread.of(rates[name]).text(0),
                Spread.of(costs[name]).text(),
                "" if isinstance(server, Mx10) else paired(rates["mx10"], rates[name]).text(),
                "" if isinstance(server, Mx10) else paired(costs[name], costs["mx10"]).text(),
                str(every[-1].octets),
                f"{sum(load.lost for load in every)}",
                " ".join(f"{code} {share:.1f}%" for code, share in sorted(every[-1].rcodes.items(), reverse=True)),
            ]
        )
    peers = [server.name for server in servers if not isinstance(server, Mx10)]
    ratios = {name: paired(rates["mx10"], rates[name]) for name in peers}
    headers = [
        "server",
        "questions/s",
        "CPU µs/question",
        "mx10 ÷ it, rate",
        "it ÷ mx10, CPU",
        "octets/answer",
        "lost",
        "response codes",
    ]
    figures = {
        "ours": round(Spread.of(rates["mx10"]).middle),
        "peers": {name: round(Spread.of(rates[name]).middle) for name in peers},
        "ratio": {name: round(ratio.middle, 3) for name, ratio in ratios.items()},
        "spread": {name: ratio.rounded() for name, ratio in ratios.items()},
        "rates": {name: [round(rate) for rate in every] for name, every in rates.items()},
        "cpu_us_per_question": {name: [round(cost, 3) for cost in every] for name, every in costs.items()},
        "octets_per_answer": {name: every[-1].octets for name, every in loads.items()},
        "lost": {name: sum(load.lost for load in every) for name, every in loads.items()},
        "rcodes": {name: every[-1].rcodes for name, every in loads.items()},
        "versions": {server.name: server.version() for server in servers},
    }
    return figures, common.table(headers, rows)


if __name__ == "__main__":
    common.run(main, limit=900)
