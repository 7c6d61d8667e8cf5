"""What every verb of the command line is given."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mx10.cli.text import Style
from mx10.config import Config


@dataclass(frozen=True, slots=True)
class Context:
    """The configuration and the global options, as they hold for one command.

    Attributes:
        config: with ``--lab`` already worked in.
        origins: every key, ``section.name``, to where its value came from.
        file: the configuration file that was read.
        lab: ``--lab`` was given.
        style: colours, or none where the output goes to no terminal.
    """

    config: Config
    origins: Mapping[str, str]
    file: Path | None
    lab: bool
    style: Style


def login() -> str:
    """Who gives the command, also behind sudo."""
    import pwd

    if user := os.environ.get("SUDO_USER"):
        return user
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
