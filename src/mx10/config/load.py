"""From file, environment and command line to one ``Config``, with the origin of every value."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from mx10.config.settings import FILE_VARIABLE, PREFIX, SECTIONS, Config, keys, variable_key

DEFAULT: Final = "default"
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
    """The file to read: the one named on the command line, else by MX10_CONFIG, else the first usual one there is."""
    if path is not None:
        return path
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    return next((place for place in PLACES if _exists(place)), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        # In a folder that may not be entered: nobody named it, so it is no reason to stop.
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
    loaded = Loaded(Config(), dict.fromkeys(keys(), DEFAULT), file)
    if file is not None or variables:
        loaded = _read(file, variables, loaded.origins)
    return loaded.override(overrides, "command line") if overrides else loaded


def _read(file: Path | None, variables: Mapping[str, str], origins: Mapping[str, str]) -> Loaded:
    # Imported here, as most commands are run without a file, and validate only where it must be: it loads pydantic.
    from mx10.config.quick import plainly_right
    from mx10.config.sources import Document, read_document

    document = read_document(file) if file is not None else Document()
    sections = None if variables else plainly_right(document.values)
    if sections is None:
        from mx10.config.validate import validate

        sections = validate(document, variables)
    named = {variable_key(name): name for name in variables}
    found: dict[str, str] = {}
    for section, given in sections.items():
        for name, value in given.items():
            key = f"{section}.{name}"
            found[key] = named.get(key) or document.where((section, name))
            if isinstance(value, Path) and key not in named and document.path:
                # What a file says must mean the same from wherever mx10 is started.
                given[name] = document.path.parent / value
    config = Config(**{section: SECTIONS[section](**given) for section, given in sections.items()})
    return Loaded(config, {**origins, **found}, file)
