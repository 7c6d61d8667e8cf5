"""The same zones and the same questions to mx10, BIND, Knot, NSD and PowerDNS: every difference has an RFC behind it.

``peers.differential`` says how. More seeds than these: ``MX10_DIFFERENTIAL_SEEDS=1,2,3,4 pytest -m peers
tests/peers``, or one with all it finds: ``python -m peers.differential --seed 7``.
"""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from peers import AUTHORITATIVE, MissingPeerError, Mx10, Nsd
from peers.differential.run import EVERY_ENTRY, Outcome, compare
from tests.conftest import alone, cannot_run

pytestmark = [pytest.mark.peers, pytest.mark.timeout(480)]

SEEDS = [int(seed) for seed in os.environ.get("MX10_DIFFERENTIAL_SEEDS", "1,2").split(",")]
QUESTIONS = 2500


Find = Callable[[int, bool], Outcome]


@pytest.fixture
def outcome(common_folder: Path) -> Find:
    """What a comparison over the zones of a seed found; each is made once, by the first worker that needs it."""

    def find(seed: int, signed: bool) -> Outcome:
        kept = common_folder / f"differential-{seed}-{signed}"
        with alone(kept):
            if kept.stat().st_size == 0:
                try:
                    found = compare(seed, QUESTIONS, signed=signed)
                except MissingPeerError as error:
                    cannot_run(str(error))
                kept.write_bytes(pickle.dumps(found))
            made: Outcome = pickle.loads(kept.read_bytes())
            return made

    return find


@pytest.mark.long
@pytest.mark.parametrize("signed", [False, True], ids=["plain", "signed"])
@pytest.mark.parametrize("seed", SEEDS)
def test_differences_from_other_nameservers_have_an_rfc_behind_them(seed: int, signed: bool, outcome: Find) -> None:
    found = outcome(seed, signed)
    assert found.questions > QUESTIONS
    assert not found.alone, found.report()
    assert not found.unexplained, found.report()


@pytest.mark.parametrize("signed", [False, True], ids=["plain", "signed"])
@pytest.mark.parametrize("seed", SEEDS)
def test_our_answers_keep_the_rules_that_need_no_peer(seed: int, signed: bool, outcome: Find) -> None:
    found = outcome(seed, signed)
    assert not found.broken, found.report()


def test_no_explanation_has_outlived_its_difference(outcome: Find) -> None:
    if len(SEEDS) < 2:
        pytest.skip("one seed does not show every difference")
    used = {name for seed in SEEDS for signed in (False, True) for name in outcome(seed, signed).uses}
    assert used == {entry.name for entry in EVERY_ENTRY}


class Forgetful(Nsd):
    """A server with a fault: it has lost the address of one host in every zone."""

    name = "faulty"

    def configure(self) -> None:
        """Serve copies of the zones, without the address of ``ns2``."""
        copies = self.work / "zones"
        shutil.copytree(self.zones, copies)
        for path in copies.iterdir():
            lines = path.read_text(encoding="ascii").splitlines(keepends=True)
            kept = [line for line in lines if not (line.startswith("ns2 ") and " A " in line)]
            path.write_text("".join(kept), encoding="ascii")
        self.zones = copies
        self.files = [type(file)(file.name, copies / Path(file.path).name) for file in self.files]
        super().configure()


def test_the_comparison_sees_a_missing_record() -> None:
    try:
        found = compare(1, 600, ours=Forgetful, peers=[Mx10, *AUTHORITATIVE[1:]])
    except MissingPeerError as error:
        cannot_run(str(error))
    assert any("ns2." in text for text in [*found.alone, *found.unexplained])
