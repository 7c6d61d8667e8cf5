"""Zones signed by BIND's dnssec-signzone: what the comparisons serve when nothing of ours may have made the
signatures.
"""

import subprocess
from pathlib import Path
from typing import Literal

from peers.server import PeerError, find_program

Denial = Literal["nsec", "nsec3", "nsec3-opt-out"]

_DENIALS: dict[Denial, list[str]] = {"nsec": [], "nsec3": ["-3", "-"], "nsec3-opt-out": ["-3", "-", "-A"]}


def sign(path: Path, zone: str, *, algorithm: str = "ECDSAP256SHA256", denial: Denial = "nsec") -> None:
    """Sign a zone in place with a new key.

    Arguments:
        path: its master file.
        zone: its name, absolute.
        algorithm: as dnssec-keygen names it.

    Raises:
        MissingPeerError: BIND's tools are not installed.
        PeerError: they refused the zone.
    """
    keys = path.with_suffix(".keys")
    keys.mkdir()
    length = ["-b", "2048"] if algorithm.startswith("RSA") else []
    _run("dnssec-keygen", "bind9-utils", "-q", "-K", str(keys), "-a", algorithm, *length, "-f", "KSK", zone)
    signed = path.with_suffix(".signed")
    _run(
        "dnssec-signzone", "bind9-utils", "-q", "-P", "-S", "-z", "-O", "full", "-K", str(keys), "-d", str(keys),
        *_DENIALS[denial], "-o", zone, "-f", str(signed), str(path),
    )  # fmt: skip
    signed.replace(path)


def _run(program: str, package: str, *arguments: str) -> None:
    done = subprocess.run(
        [find_program(program, package), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise PeerError(f"{program}: {done.stderr.strip()[-1000:]}")
