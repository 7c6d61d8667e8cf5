"""What runs inside the namespaces of ``test_postfix_order``: a nameserver, Postfix, and ``mx10 route``, all asked about
the same domains.

    unshare --mount --net --pid --fork --kill-child python -m tests.peers.postfix_inside FOLDER

reads ``scenarios.json`` in FOLDER and writes ``results.json``.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from peers.postfix import Postfix
from tests.peers.mail_worlds import NETWORKS, OWN_ADDRESSES
from tests.routing.dns_world import World, serving

NAMESERVER = "127.0.0.53"


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
    with serving(world, NAMESERVER, 53):
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
