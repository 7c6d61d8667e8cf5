"""What all tests share."""

import os
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

# A slow machine is no failure, and a run in CI is the same every time.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def cannot_run(reason: str) -> NoReturn:
    """End a test that lacks what it needs: skipped on a developer's machine, failed in CI, where nothing may lack.

    Args:
        reason: what is missing and how to get it.
    """
    if os.environ.get("CI"):
        pytest.fail(f"cannot run in CI: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("MX10_") or name == "NO_COLOR"]:
        monkeypatch.delenv(name)
