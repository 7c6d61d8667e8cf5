"""``mx10 route`` beside Postfix's own order of attempts, on domains drawn by a seed.

Both run in network and mount namespaces of their own, ask the same nameserver, and are the same host (``--as``).
Nothing listens at any exchanger, so Postfix tries every address and logs it. Compared are: which addresses, the groups
of preference they come in, and what becomes of the mail. Within a preference both draw the order. What Postfix does
otherwise is in ``_explained``, each with the rule it is judged by.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from peers.postfix import Delivery
from tests.conftest import cannot_run
from tests.peers.mail_worlds import Scenario, scenarios

pytestmark = pytest.mark.peers

SEED = 10
COUNT = 400
ROOT = Path(__file__).parents[2]
UNSHARE = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]

Pair = tuple[str, str]
Outcome = tuple[Scenario, dict[str, Any], Delivery]


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Every domain with the route of mx10 and what Postfix did."""
    for program, package in (("postfix", "postfix"), ("unshare", "util-linux"), ("ip", "iproute2")):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            cannot_run(f"{program} is not installed: apt-get install {package}")
    if os.geteuid() != 0 or subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode:
        cannot_run("namespaces of its own need root: run as root, or in a container that allows `unshare --net`")
    # Not pytest's folder: Postfix's own user must be able to walk to it.
    with tempfile.TemporaryDirectory(prefix="mx10-postfix-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        drawn = scenarios(SEED, COUNT)
        (folder / "scenarios.json").write_text(json.dumps([asdict(one) for one in drawn]))
        command = [*UNSHARE, sys.executable, "-m", "tests.peers.postfix_inside", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        results = json.loads((folder / "results.json").read_text())
    routes = {route["domain"]: route for route in results["routes"]}
    return [
        (one, routes[one.domain], Delivery(**{**delivery, "tried": [tuple(pair) for pair in delivery["tried"]]}))
        for one in drawn
        for delivery in [results["deliveries"][one.domain]]
    ]


def groups(route: dict[str, Any]) -> list[list[Pair]]:
    """What mx10 would try, preference by preference."""
    found = [
        [
            (one["name"], address["address"])
            for one in group["exchangers"]
            if one["status"] == "usable"
            for address in one["addresses"]
            if address["problem"] is None
        ]
        for group in route["groups"]
    ]
    return [group for group in found if group]


def attempts(delivery: Delivery, route: dict[str, Any]) -> list[Pair]:
    """What Postfix tried, without what it does otherwise by design.

    * It tries a host again that is listed with two preferences; RFC 5321 section 5.1 asks for each address once.
    * It connects to an MX that is an IP address (with a warning); RFC 5321 section 5.1 wants the name of a host there.
    * It names a host it reached by the domain's own CNAME by the domain; RFC 5321 section 5.1 goes on with the CNAME's
      target.
    """
    alias = {route["domain"]: route["aliases"][-1]} if route["kind"] == "implicit-mx" and route["aliases"] else {}
    return list(dict.fromkeys((alias.get(host, host), address) for host, address in delivery.tried if host != address))


def _explained(route: dict[str, Any], delivery: Delivery) -> str:
    """Why the codes may differ, by the rule that mx10 follows; empty where there is no reason."""
    ours, theirs = route["code"], delivery.code
    if (ours, theirs) == ("5.1.10", "5.1.0"):
        return "RFC 7505 section 4: 556 5.1.10 for a null MX; Postfix bounces with the general 5.1.0"
    if theirs == "5.1.0" and any(note["code"] == "null-mx-not-alone" for note in route["notes"]):
        return "RFC 7505 section 3: a null MX stands alone; beside others Postfix lets it count, and mx10 the others"
    if (ours, theirs) == ("5.1.2", "5.4.4") and "Host not found" in delivery.reason:
        return (
            "RFC 3463 section 3.2: X.1.2 for a domain that does not exist; Postfix has X.4.4 for every name not found"
        )
    if (ours, theirs) == ("5.4.4", "4.4.4") and "unable to find primary relay" in delivery.reason:
        return "RFC 5321 section 5.1: MX records none of which is usable are an error; as a backup Postfix waits"
    if (ours, theirs) == ("4.4.3", "4.4.4"):
        return "RFC 3463 section 3.5: X.4.3 where the DNS fails; Postfix waits too, with the general X.4.4"
    if (ours, theirs) == ("5.4.4", "4.4.1") and delivery.tried and not attempts(delivery, route):
        return "RFC 5321 section 5.1: an IP address is no host's name, so there is none to try; Postfix connects to it"
    return ""


def test_every_address_in_the_same_order_of_preference(outcomes: list[Outcome]) -> None:
    for scenario, route, delivery in outcomes:
        if delivery.code == "5.1.0":
            # Nothing was tried; ``_explained`` says why.
            continue
        tried = attempts(delivery, route)
        at = 0
        for group in groups(route):
            assert sorted(tried[at : at + len(group)]) == sorted(group), (scenario, tried)
            at += len(group)
        assert tried[at:] == [], scenario


def test_the_same_becomes_of_the_mail(outcomes: list[Outcome]) -> None:
    for scenario, route, delivery in outcomes:
        ours = route["code"] or route["if_all_fail"]["code"]
        if ours == delivery.code:
            permanent = route["result"] == "permanent"
            assert delivery.status == ("bounced" if permanent else "deferred"), (scenario, delivery)
        else:
            assert _explained(route, delivery), (scenario, ours, delivery)


def test_enough_was_compared(outcomes: list[Outcome]) -> None:
    assert len(outcomes) >= 200
    codes = Counter(route["code"] for _, route, _ in outcomes)
    assert codes.keys() >= {None, "5.1.10", "5.1.2", "5.4.4", "5.4.6", "4.4.3"}
    assert sum(len(delivery.tried) for _, _, delivery in outcomes) > 500
    assert sum(len(groups(route)) > 1 for _, route, _ in outcomes) > 20, "routes of several preferences"
    assert sum(any(one["status"] == "eliminated" for one in exchangers(route)) for _, route, _ in outcomes) > 20
    assert any(group["preference"] == 0 for _, route, _ in outcomes for group in route["groups"])
    reasons = {_explained(route, delivery) for _, route, delivery in outcomes}
    assert len(reasons - {""}) == 6, "every explanation is needed"


def exchangers(route: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for group in route["groups"] for one in group["exchangers"]]
