"""From file, environment and command line to one ``Config``, with the origin of every value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mx10.config.errors import ConfigError, ConfigProblem
from mx10.config.settings import Config, keys

DEFAULT: Final = "default"
PREFIX: Final = "MX10_"
FILE_VARIABLE: Final = "MX10_CONFIG"
PLACES: Final = (Path("mx10.toml"), Path("/etc/mx10/mx10.toml"))
"""Where the file is looked for when nobody names one; the first that exists is used, alone."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it came from.

    Attributes:
        origins: every key, ``section.name``, to ``default``, ``file:line``, the environment variable, or the option
            of the command line.
        file: the file that was read.
    """

    config: Config
    origins: dict[str, str]
    file: Path | None = None

    def override(self, values: Mapping[str, object], origin: str) -> "Loaded":
        """This configuration with some values changed by the program itself, so they are not checked again.

        Args:
            values: ``section.name`` to value.
            origin: where they come from, for people: ``--lab``.
        """
        config = self.config
        for key, value in values.items():
            section, _, name = key.partition(".")
            # A key that does not exist is a mistake in mx10 and raises TypeError or AttributeError.
            settings: Any = replace(getattr(config, section), **{name: value})
            config = replace(config, **{section: settings})
        return Loaded(config, self.origins | dict.fromkeys(values, origin), self.file)


def find_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: the one named on the command line, else by MX10_CONFIG, else the first of the usual places
    that exists.
    """
    if path is not None:
        return path
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    # os.path rather than Path.is_file: a folder that may not be entered is no reason to stop.
    return next((place for place in PLACES if _exists(place)), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def load(path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Loaded:
    """Read the configuration.

    Args:
        path: the file named on the command line, or None.
        environ: the environment; ``MX10_SECTION__NAME`` sets a key and goes before the file.
        overrides: ``section.name`` to a value that goes before all others, already of the right type.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or a key or value in it or in the environment is wrong.
    """
    file = find_file(path, environ)
    variables = {name: text for name, text in environ.items() if name.startswith(PREFIX) and name != FILE_VARIABLE}
    origins = dict.fromkeys(keys(), DEFAULT)
    config = Config()
    if file is not None or variables:
        # Only now: pydantic takes longer to import than most commands take in all.
        from mx10.config.sources import Document, read_document
        from mx10.config.validate import validate

        document = read_document(file) if file is not None else Document()
        config, found = validate(document, variables)
        origins |= found
    loaded = Loaded(config, origins, file)
    return loaded.override(overrides, "command line") if overrides else loaded


__all__ = [
    "DEFAULT",
    "FILE_VARIABLE",
    "PLACES",
    "PREFIX",
    "ConfigError",
    "ConfigProblem",
    "Loaded",
    "find_file",
    "load",
]
