"""The iterating resolver beside BIND's, over the whole lab: the same questions from the same root, the same answers.

BIND asks nameservers at port 53 only, so the lab runs there, in a network namespace of its own, in which any user may.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import cannot_run

pytestmark = [pytest.mark.peers, pytest.mark.long]

ISOLATED = ("unshare", "--map-root-user", "--net")
# BIND answers from no record set of more than 100 records (max-records-per-type, after CVE-2024-1737).
TOO_MANY_FOR_BIND = "crowd.test MX"


@pytest.mark.timeout(180)
def test_every_domain_of_the_lab_as_bind_resolves_it(tmp_path: Path) -> None:
    for program, package in (("named", "bind9"), ("unshare", "util-linux"), ("ip", "iproute2")):
        if not shutil.which(program):
            cannot_run(f"{program} is not there: apt-get install {package}")
    if subprocess.run([*ISOLATED, "true"], capture_output=True).returncode:
        cannot_run("network namespaces are not allowed here: run as root, or set kernel.unprivileged_userns_clone=1")
    script = Path(__file__).with_name("lab_resolver_inside.py")
    inside = f'ip link set lo up && exec "{sys.executable}" "{script}" "{tmp_path}"'
    result = subprocess.run([*ISOLATED, "sh", "-c", inside], capture_output=True, text=True, timeout=170)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["asked"] > 600
    different = found["different"]
    assert different.pop(TOO_MANY_FOR_BIND)[1] == ["SERVFAIL"]
    assert not different
