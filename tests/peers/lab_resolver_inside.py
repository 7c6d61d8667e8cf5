"""Run by test_lab_resolver.py in a network of its own: the lab on port 53, BIND's resolver over its root, and the same
questions to both.

Prints one JSON object: question to the two answers, where they differ.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from mx10.config import Config, LabSettings
from mx10.dns import rrtypes as rr
from mx10.dns.message import Message
from mx10.dns.wirename import to_text
from mx10.lab import ZONES
from mx10.lab.guide import examples
from mx10.lab.server import Lab
from mx10.names import domain_from_text
from mx10.resolver.asking import Asking, Server, TransportError
from mx10.resolver.transports import Exchanger

NAMED = """
options {{
    directory "{folder}"; listen-on port 5353 {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none;
    session-keyfile none; recursion yes; dnssec-validation no; empty-zones-enable no; minimal-responses yes;
    resolver-query-timeout 2000;
}};
zone "." {{ type hint; file "hints"; }};
"""
HINTS = """
. 3600 NS a.root.test.
. 3600 NS b.root.test.
a.root.test. 3600 A 127.53.0.1
b.root.test. 3600 A 127.53.0.2
"""
MORE = (
    "com", "1.1.25.127.in-addr.arpa", "www.single.example", "x.y.nomail.example", "nope.com", "a.b.wildcard.test",
    "x.mail.wildcard.test", "mail.slow.test", "mail.lame.test", "_dmarc.single.example", "x.long1.aliases.test",
    "mx-a.sales.moved.test", "ns1.hosting.example", "ns.branch.corp.example", "mx.branch.corp.example", "test",
)  # fmt: skip
TYPES = (rr.MX, rr.A, rr.AAAA, rr.NS, rr.SOA, rr.TXT, rr.PTR, rr.DS)
SECONDS = 8.0


def main(folder: Path) -> None:
    (folder / "named.conf").write_text(NAMED.format(folder=folder))
    (folder / "hints").write_text(HINTS)
    with (folder / "log").open("w") as log:
        named = subprocess.Popen(["named", "-g", "-4", "-c", str(folder / "named.conf")], stdout=log, stderr=log)
    try:
        print(json.dumps(asyncio.run(compare())))
    finally:
        named.terminate()
        named.wait(10)


async def compare() -> dict[str, object]:
    lab = Lab(Config(lab=LabSettings(port=53)))
    await lab.start()
    try:
        await until_it_answers()
        domains = [*(each.domain for each in examples(ZONES)), *MORE]
        questions = [(domain_from_text(domain), rrtype) for domain in domains for rrtype in TYPES]
        different = {}
        # A few at a time: both have one processor between them here.
        for at in range(0, len(questions), 20):
            chunk = questions[at : at + 20]
            ours = await asyncio.gather(*(ask("127.53.0.53", 53, *each) for each in chunk))
            theirs = await asyncio.gather(*(ask("127.0.0.1", 5353, *each) for each in chunk))
            for (name, rrtype), our, their in zip(chunk, ours, theirs, strict=True):
                if our != their:
                    different[f"{to_text(name, final_dot=False)} {rr.type_to_text(rrtype)}"] = [our, their]
        return {"asked": len(questions), "different": different}
    finally:
        await lab.close()


async def until_it_answers() -> None:
    for _ in range(100):
        if (await ask("127.0.0.1", 5353, domain_from_text("com"), rr.SOA))[0] == "NOERROR":
            return
        await asyncio.sleep(0.1)


async def ask(address: str, port: int, name: bytes, rrtype: int) -> list[str]:
    """Response code, then the records of the answer section, sorted."""
    exchanger = Exchanger(Server(address, port))
    try:
        return told(await exchanger.ask(name, rrtype, SECONDS, Asking()))
    except TimeoutError:
        # BIND would rather say nothing than SERVFAIL where nameservers need each other.
        return ["SERVFAIL"] if port == 5353 else ["no answer"]
    except TransportError as error:
        return [f"{type(error).__name__}: {error}"]
    finally:
        await exchanger.close()


def told(message: Message) -> list[str]:
    code = rr.rcode_to_text(message.rcode)
    if message.rcode == rr.Rcode.SERVFAIL:
        return [code]
    records = {f"{to_text(r.name.lower())} {r.type} {r.rdata.lower().hex()}" for r in message.answer}
    return [code, *sorted(records)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
