"""Where a lab that runs has its files, and what else commands know of it. What is here is quick to import."""

import os
import tempfile
from pathlib import Path
from typing import Final

PROBE_LONGEST_SECONDS: Final = 3
"""The lab's relay looks so often at a next hop that is down."""


def folder_of(address: str, port: int) -> Path:
    """The folder of the lab at that address, for this user."""
    return Path(tempfile.gettempdir()) / f"mx10-lab-{os.getuid()}-{address}-{port}"


def tls_folder_of(folder: Path) -> Path:
    """Where the certificates are of the lab with that folder."""
    return folder / "tls"


def ca_file_of(folder: Path) -> Path:
    """The certificate of the authority with that folder of certificates."""
    return folder / "ca.pem"
