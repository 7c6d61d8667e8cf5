"""Master files as the verbs that take them read them."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError

if TYPE_CHECKING:
    from mx10.config import ZoneSettings
    from mx10.zones.zone import Zone

STANDARD_INPUT = "-"


def settings_for(context: Context, *, force: bool) -> "ZoneSettings":
    """The limits and tolerated rules, with ``--force`` all that can be."""
    from mx10.zones.build import TOLERABLE

    settings = context.config.zones
    return replace(settings, tolerate=tuple(TOLERABLE)) if force else settings


def read_zone(name: str, settings: "ZoneSettings", zone: bytes | None = None) -> "Zone":
    """The zone of a master file; what is wrong in it is told on standard error.

    Args:
        name: of the file; ``-`` is standard input.
        zone: which zone it is, if its name and its $ORIGIN do not say so.

    Raises:
        NotDoneError: the file cannot be read, has errors, or holds another zone.
    """
    from mx10.names import display
    from mx10.zones.build import build
    from mx10.zones.folder import origin_from_file_name
    from mx10.zones.master import read, read_text

    if name == STANDARD_INPUT:
        text = sys.stdin.buffer.read(settings.max_file_mb << 20).decode("utf-8", "surrogateescape")
        master = read_text(text, zone, settings, path="standard input")
    else:
        path = Path(name)
        origin = zone if zone is not None else origin_from_file_name(path.name)
        master = read(name, origin, settings, folder=str(path.parent))
    loaded = build(master, settings)
    for problem in loaded.problems:
        print(problem, file=sys.stderr)
    if loaded.zone is None:
        raise NotDoneError(f"{name} was not taken: mend the errors above (docs/zone-files.md explains each)")
    if zone is not None and loaded.zone.apex != zone:
        raise NotDoneError(f"{name} holds {display(loaded.zone.apex)}, not {display(zone)}")
    return loaded.zone
