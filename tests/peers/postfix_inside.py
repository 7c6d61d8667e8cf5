"""What runs inside the namespaces of ``test_postfix_order``: a nameserver, Postfix, and ``mx10 route``, all asked about
the same domains.

    unshare --mount --net --pid --fork --kill-child python -m tests.peers.postfix_inside FOLDER

reads ``scenarios.json`` in FOLDER and writes ``results.json``.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from mx10.dns import message, wirename
from mx10.dns.message import Message, Record
from mx10.dns.rrtypes import CNAME, Rcode
from mx10.resolver.answer import Status
from peers.postfix import Postfix
from tests.peers.mail_worlds import NETWORKS, OWN_ADDRESSES
from tests.routing.dns_world import World

NAMESERVER = "127.0.0.53"


def answer(world: World, packet: bytes) -> bytes | None:
    """The response of a recursive nameserver that knows this world; None where it keeps silent."""
    asked = message.parse(packet)
    if asked.question is None:
        return None
    name = asked.question.name
    found = world.answer(wirename.fold(name), asked.question.type)
    if found.status is Status.FAILURE and found.reason == "timeout":
        return None
    records = []
    at = name
    for step in found.chain:
        records.append(Record(at, CNAME, 1, 60, step))
        at = step
    records += [Record(at, record.type, 1, 60, record.rdata) for record in found.records]
    rcode = {Status.NXDOMAIN: Rcode.NXDOMAIN, Status.FAILURE: Rcode.SERVFAIL}.get(found.status, Rcode.NOERROR)
    flags = message.QR | message.RA | (asked.flags & message.RD) | rcode
    return message.encode(Message(asked.id, flags, asked.question, tuple(records), edns=asked.edns, rcode=rcode))


def serve(world: World) -> None:
    """Answer over UDP, for ever; every answer here is small enough."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.bind((NAMESERVER, 53))
        ready.set()
        while True:
            packet, client = channel.recvfrom(4096)
            response = answer(world, packet)
            if response is not None:
                channel.sendto(response, client)


ready = threading.Event()


def prepare(folder: Path) -> None:
    """Make every address of the test local, and the nameserver of the test the system's."""
    for command in (
        "ip link set lo up",
        *(f"ip address add {address}/{128 if ':' in address else 8} dev lo" for address in OWN_ADDRESSES),
        "ip -6 route add local fd00::/64 dev lo",
        "mount --make-rprivate /",
    ):
        subprocess.run(command.split(), check=True)
    resolv = folder / "resolv.conf"
    resolv.write_text(f"nameserver {NAMESERVER}\noptions timeout:1 attempts:2\n")
    subprocess.run(["mount", "--bind", str(resolv), "/etc/resolv.conf"], check=True)


def ask_mx10(domains: list[str]) -> list[object]:
    command = [sys.executable, "-m", "mx10", "route", "--json", "-"]
    for address in OWN_ADDRESSES:
        command += ["--as", address]
    settings = {"MX10_ROUTING__PUBLIC_NETWORKS": json.dumps(NETWORKS), "MX10_RESOLVER__TIMEOUT_SECONDS": "1"}
    environ = {**os.environ, **settings}
    done = subprocess.run(
        command, input="\n".join(domains), env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    if done.stderr:
        raise SystemExit(f"mx10 route: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main(folder: Path) -> None:
    scenarios = json.loads((folder / "scenarios.json").read_text())
    domains = [scenario["domain"] for scenario in scenarios]
    prepare(folder)
    world = World("\n".join(scenario["records"] for scenario in scenarios))
    threading.Thread(target=serve, args=(world,), daemon=True).start()
    ready.wait(10)
    routes = ask_mx10(domains)
    postfix = Postfix(folder, OWN_ADDRESSES)
    postfix.start()
    try:
        postfix.send(domains)
        deliveries = postfix.deliveries(domains, 150)
    finally:
        postfix.stop()
    results = {"routes": routes, "deliveries": {domain: asdict(one) for domain, one in deliveries.items()}}
    (folder / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
