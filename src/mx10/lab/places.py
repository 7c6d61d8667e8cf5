"""Where a lab that runs has its files. Commands ask too: what is here is quick to import."""

import os
import tempfile
from pathlib import Path


def folder_of(address: str, port: int) -> Path:
    """The folder of the lab at that address, for this user."""
    return Path(tempfile.gettempdir()) / f"mx10-lab-{os.getuid()}-{address}-{port}"


def tls_folder_of(folder: Path) -> Path:
    """Where the certificates are of the lab with that folder."""
    return folder / "tls"


def ca_file_of(folder: Path) -> Path:
    """The certificate of the authority with that folder of certificates."""
    return folder / "ca.pem"
