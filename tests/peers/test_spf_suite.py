"""The test suite of the authors of SPF for RFC 7208, as it comes with Debian's python3-spf."""

import json
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from mx10.mailauth.asking import ABSENT, FAILED, Found, Kind, Status
from mx10.mailauth.spf import check_host
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

SUITE = Path("/usr/share/doc/python3-spf/rfc7208-tests.yml.gz")
TO_JSON = """
import gzip, json, sys, yaml
print(json.dumps(list(yaml.safe_load_all(gzip.open(sys.argv[1], "rt")))))
"""


class Zones:
    """The suite's data, asked as the DNS is."""

    def __init__(self, data: dict[str, list[Any]]) -> None:
        self._data = {name.lower(): records for name, records in data.items()}

    async def __call__(self, name: str, kind: Kind) -> Found:
        for _ in range(10):
            records = self._data.get(name.lower().removesuffix("."))
            if records is None:
                return ABSENT
            alias = [each["CNAME"] for each in records if isinstance(each, dict) and "CNAME" in each]
            if not alias:
                break
            name = alias[0]
        assert records is not None
        values = [value for each in records if isinstance(each, dict) for key, value in each.items() if key == kind]
        if values in ([], ["NONE"]) and "TIMEOUT" in records:
            return FAILED
        if kind == "TXT" and not values:
            # What the suite gives as the type SPF is meant for TXT, too.
            values = [
                value for each in records if isinstance(each, dict) for key, value in each.items() if key == "SPF"
            ]
        if "TIMEOUT" in values:
            return FAILED
        values = [each for each in values if each != "NONE"]
        if not values:
            return ABSENT
        if kind in ("A", "AAAA"):
            return Found(Status.FOUND, addresses=tuple(ip_address(each).packed for each in values))
        if kind == "MX":
            return Found(Status.FOUND, hosts=tuple((each[0], each[1]) for each in values))
        texts = ["".join(each) if isinstance(each, list) else each for each in values]
        return Found(Status.FOUND, tuple(each.encode("latin-1") for each in texts))


def scenarios() -> list[dict[str, Any]]:
    if not SUITE.exists():
        cannot_run("python3-spf is not installed: apt-get install python3-spf python3-yaml")
    command = ["/usr/bin/python3", "-c", TO_JSON, str(SUITE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        cannot_run(f"the suite cannot be read (apt-get install python3-yaml): {done.stderr[-200:]}")
    found: list[dict[str, Any]] = [each for each in json.loads(done.stdout) if each]
    return found


async def test_the_suite() -> None:
    wrong = []
    count = 0
    for scenario in scenarios():
        zones = Zones(scenario["zonedata"])
        for name, test in scenario["tests"].items():
            count += 1
            helo = str(test["helo"])
            sender = test["mailfrom"] or f"postmaster@{helo}"
            domain = sender.rpartition("@")[2]
            found = await check_host(ip_address(test["host"]).packed, domain, sender, helo, zones)
            wanted = test["result"] if isinstance(test["result"], list) else [test["result"]]
            if found.result not in wanted:
                wrong.append((name, wanted, found))
            elif (said := test.get("explanation")) not in (None, "DEFAULT") and said != found.explanation:
                wrong.append((name, said, found))
    assert count > 190
    assert not wrong, "\n".join(map(str, wrong))
