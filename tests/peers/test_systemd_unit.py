"""The unit of contrib/ by systemd's own judgement."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mx10.config import NameserverSettings
from tests.conftest import cannot_run

pytestmark = pytest.mark.peers

UNIT = Path(__file__).parents[2] / "contrib" / "mx10.service"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        cannot_run("systemd-analyze is not installed: apt-get install systemd")
    path = tmp_path / "mx10.service"
    path.write_text(UNIT.read_text().replace("/usr/bin/mx10", str(Path(sys.executable).with_name("mx10"))))
    return path


def analyze(*argv: str) -> str:
    done = subprocess.run(["systemd-analyze", *argv], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    assert analyze("verify", str(unit)) == ""


def test_it_is_hardened(unit: Path) -> None:
    said = analyze("security", "--offline=yes", "--no-pager", str(unit))
    (level,) = re.findall(r"Overall exposure level for mx10.service: ([0-9.]+)", said)
    assert float(level) <= 2.0


def test_the_limit_of_open_files_is_enough_for_the_defaults() -> None:
    (files,) = re.findall(r"^LimitNOFILE=([0-9]+)$", UNIT.read_text(), re.MULTILINE)
    assert int(files) > 10 * NameserverSettings().tcp_connections
