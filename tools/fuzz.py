"""Throw mutated packets at the DNS codec and the responder, or mutated dialogues at SMTP; say what came of it.

    .venv/bin/python tools/fuzz.py --packets 10000000
    .venv/bin/python tools/fuzz.py --dialogues 1000000

Every packet is a mutation of a real one (bits, octets, lengths and counts changed, pieces cut, doubled and swapped), or
noise. They come to a zone without signatures, and to it signed with NSEC, NSEC3, and NSEC3 with opt-out, in turns. Each
must come out as a value or as the codec's own error; whatever the responder answers must be a response to that packet,
parse, and be no larger than asked for.

Dialogues are, in turns, what clients say to our receiver (fuzz_receiver.py) and what servers say to our sender
(fuzz_sender.py); both files tell what must hold.

The first packet or dialogue that breaks this is printed, and the exit code is 1. The same seed gives the same ones.
"""

import argparse
import json
import multiprocessing
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from struct import Struct
from typing import Final

import fuzz_receiver
import fuzz_sender
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mx10.config import NameserverSettings
from mx10.dns import message as m
from mx10.dns import rdata
from mx10.dns import rrtypes as rr
from mx10.dns.question import Query, read_question
from mx10.dns.wirename import WireError, from_text
from mx10.nameserver.responder import Responder
from mx10.nameserver.table import ZoneTable
from mx10.zones.dnssec.keys import KeySet, SigningKey
from mx10.zones.dnssec.policy import Denial, Policy
from mx10.zones.dnssec.whole import sign_zone
from mx10.zones.dnssec.work import Arrangement
from mx10.zones.zone import Node, Zone, add_empty_nonterminals

CHUNK = 20_000
DENIALS: Final[tuple[Denial | None, ...]] = (None, "nsec", "nsec3", "nsec3-opt-out")
NOW = 1_800_000_000
APEX = from_text("example.")


def zone(denial: Denial | None) -> Zone:
    """A zone in which each branch of the answering algorithm has something to find; signed if a denial is named."""
    soa = from_text("ns.example.") + from_text("h.example.") + Struct("!5I").pack(1, 2, 3, 4, 5)
    nodes: dict[bytes, Node] = {
        APEX: {
            rr.SOA: (60, (soa,)),
            rr.NS: (60, (from_text("ns.example."),)),
            rr.MX: (60, (b"\0\0" + from_text("mx.example."),)),
        },
        from_text("mx.example."): {rr.A: (60, (b"\x7f\0\0\1",)), rr.AAAA: (60, (bytes(15) + b"\1",))},
        from_text("a.b.example."): {rr.TXT: (60, tuple(bytes((200,)) + bytes((i,)) * 200 for i in range(40)))},
        from_text("c.example."): {rr.CNAME: (60, (from_text("mx.example."),))},
        from_text("d.example."): {rr.DNAME: (60, (from_text("b.example."),))},
        from_text("*.w.example."): {rr.MX: (60, (b"\0\1" + from_text("mx.example."),))},
        from_text("sub.example."): {rr.NS: (60, (from_text("ns.sub.example."),))},
        from_text("ns.sub.example."): {rr.A: (60, (b"\x7f\0\0\2",))},
        from_text("safe.example."): {
            rr.NS: (60, (from_text("ns.other."),)),
            rr.DS: (60, (b"\x12\x34\x0d\2" + bytes(32),)),
        },
    }
    add_empty_nonterminals(APEX, nodes, 1000)
    plain = Zone(APEX, nodes)
    if denial is None:
        return plain
    # The same key each time, and an algorithm whose signatures are the same: so are the packets of a seed.
    key = SigningKey.of("csk", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    arrangement = Arrangement(Policy(algorithm=15, denial=denial), KeySet.plain([key]))
    return sign_zone(plain, arrangement, NOW, random.Random(1).random)


def corpus(responder: Responder) -> list[bytes]:
    """Questions of every kind, and the answers to them."""
    names = [
        "example.",
        "mx.example.",
        "a.b.example.",
        "c.example.",
        "x.d.example.",
        "q.w.example.",
        "y.sub.example.",
        "z.safe.example.",
        "no.example.",
        "other.",
    ]
    packets = []
    for name in map(from_text, names):
        for rrtype in (rr.MX, rr.A, rr.TXT, rr.ANY, rr.NS, rr.DS, rr.DNSKEY):
            packets.append(m.make_query(name, rrtype, id=1, edns=False))
            packets.append(
                m.make_query(name, rrtype, id=2, do=True, payload=4096, options=((10, b"8octets!"), (3, b"")))
            )
    # Questions weigh more: what a server hears is questions, and it drops responses at once.
    return packets * 3 + [answer for packet in packets if (answer := responder.tcp(packet)) is not None]


def mutate(rng: random.Random, packets: list[bytes]) -> bytes:
    """One packet like those of the corpus, but wrong in up to four ways."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(0, 600))
    packet = bytearray(rng.choice(packets))
    for _ in range(rng.randrange(0, 5)):
        at = rng.randrange(len(packet)) if packet else 0
        match rng.randrange(8):
            case 0 | 1 if packet:
                packet[at] = rng.randrange(256)
            case 2 if packet:
                packet[at] ^= 1 << rng.randrange(8)
            case 3:
                del packet[at : at + rng.randrange(1, 12)]
            case 4:
                packet[at:at] = rng.randbytes(rng.randrange(1, 12))
            case 5:
                packet[at : at + 2] = rng.choice(
                    (b"\xc0\x0c", b"\xc0\x00", b"\xff\xff", b"\x00\x00", b"\x3f\x41", b"\x80\x01")
                )
            case 6:
                other = rng.choice(packets)
                packet[at:] = other[rng.randrange(len(other)) :]
            case _ if len(packet) > 12:
                # Counts and flags, where most decisions are made.
                packet[rng.randrange(2, 12)] = rng.choice((0, 1, 2, 255, rng.randrange(256)))
    return bytes(packet)


def check(packet: bytes, responder: Responder, seen: Counter[str]) -> None:
    """Whatever this packet is, nothing but the codec's own error may come of it."""
    try:
        message = m.parse(packet)
    except WireError:
        seen["refused by parse"] += 1
    else:
        seen["parsed"] += 1
        for record in message.answer + message.authority + message.additional:
            rdata.to_text(record.type, record.rdata)
        again = m.parse(m.encode(message))
        assert (again.rcode, len(again.answer), again.edns) == (message.rcode, len(message.answer), message.edns), (
            "changed by encoding"
        )
    query = read_question(packet)
    seen[type(query).__name__] += 1
    for answer, largest in ((responder.udp, 1232), (responder.tcp, 65535)):
        response = answer(packet)
        if response is None:
            assert query is None
            continue
        limit = largest if largest > 1232 or not isinstance(query, Query) else min(query.payload, largest)
        assert len(response) <= max(limit, 512), "larger than asked for"
        parsed = m.parse(response)
        assert parsed.qr, "not a response"
        assert parsed.id == int.from_bytes(packet[:2], "big"), "not a response to this"


def run(job: tuple[int, int]) -> tuple[Counter[str], str]:
    """One chunk: what was seen, and the first failure as text."""
    seed, count = job
    rng = random.Random(seed)
    denial = DENIALS[seed % len(DENIALS)]
    responder = Responder(ZoneTable({APEX: zone(denial).pack()}), NameserverSettings(answer_cache_mb=4))
    packets = corpus(responder)
    seen: Counter[str] = Counter()
    for _ in range(count):
        packet = mutate(rng, packets)
        try:
            check(packet, responder, seen)
        except Exception as error:
            return seen, f"{type(error).__name__}: {error}\npacket: {packet.hex()}"
    return seen, ""


def run_dialogues(job: tuple[int, int]) -> tuple[Counter[str], str]:
    """One chunk of dialogues, as ``run``."""
    seed, count = job
    rng = random.Random(seed)
    seen: Counter[str] = Counter()
    for number in range(count):
        check = fuzz_sender.check if number % 2 else fuzz_receiver.check
        try:
            check(rng, seen)
        except Exception as error:
            return seen, "".join(traceback.format_exception(error))
    return seen, ""


def main(show: Callable[[str], object] = print) -> int:
    """Run, report, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=200_000, metavar="N", help="how many; default: %(default)s")
    parser.add_argument("--dialogues", type=int, metavar="N", help="dialogues of SMTP instead of packets: how many")
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    what, total, work = (
        ("packets", args.packets, run) if args.dialogues is None else ("dialogues", args.dialogues, run_dialogues)
    )
    jobs = [(args.seed * 1_000_003 + i, min(CHUNK, total - i * CHUNK)) for i in range(-(-total // CHUNK))]
    seen: Counter[str] = Counter()
    started = time.monotonic()
    done = 0
    failure = ""
    try:
        with multiprocessing.Pool(args.jobs) as pool:
            for (_, count), (part, failure) in zip(jobs, pool.imap(work, jobs), strict=True):
                seen += part
                done += count
                if sys.stderr.isatty():
                    print(f"\r{done:,} of {total:,} {what}", end="", file=sys.stderr)
                if failure:
                    break
    except KeyboardInterrupt:
        failure = "interrupted"
    seconds = time.monotonic() - started
    report = {what: done, "seed": args.seed, "seconds": round(seconds, 1), "failure": failure, "seen": dict(seen)}
    if args.json:
        show(json.dumps(report))
    else:
        right = "every one a value or a clear error" if work is run else "none came to anything wrong"
        show(f"{done:,} {what} in {seconds:.0f} s (seed {args.seed}): {failure or right}")
        for kind, count in seen.most_common():
            show(f"  {count:>12,}  {kind}")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
