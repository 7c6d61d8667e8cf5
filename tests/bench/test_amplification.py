"""What forging addresses gains is bounded, for every kind of answer over UDP."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "bench" / "amplification.py"


@pytest.fixture(scope="module")
def factors() -> dict[str, float]:
    done = subprocess.run([sys.executable, PROGRAM, "--json"], capture_output=True, text=True, check=True, timeout=60)
    kinds = json.loads(done.stdout)["kinds"]
    assert all(each["response"] <= 1232 for each in kinds)
    return {each["kind"]: each["factor"] for each in kinds}


def test_all_kinds(factors: dict[str, float]) -> None:
    assert len(factors) > 40
    assert max(factors.values()) < 20
    assert max(factor for kind, factor in factors.items() if "unsigned" in kind) < 7


def test_what_is_no_answer_gains_nothing(factors: dict[str, float]) -> None:
    for kind, factor in factors.items():
        if any(word in kind for word in ("TC", "refused", "BADVERS", "NOTIMP", "FORMERR")):
            assert factor < 1.2, kind
    assert factors["beyond the rate limit (slip)"] <= 1.0
    assert factors["beyond it, asked with a cookie"] < 1.4


def test_any_is_one_record_set(factors: dict[str, float]) -> None:
    assert factors["ANY, unsigned"] < 3
    assert max(factor for kind, factor in factors.items() if kind.startswith(("ANY", "RRSIG"))) < 6
