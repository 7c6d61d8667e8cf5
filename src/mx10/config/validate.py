"""Checking what a file and the environment say against the settings there are. pydantic-settings does it, and nothing
else imports it.

It was chosen for its field: types, limits and environment variables from the same annotations. What it does not know
is added here: where a value stands in the file, and which key was probably meant.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from mx10.config.errors import ConfigError, ConfigProblem, nearest, printable
from mx10.config.settings import FILE_VARIABLE, PREFIX, SECTIONS, keys, variable_key
from mx10.config.sources import Document

_VALUE: Final = 60
"""Characters of a wrong value that a message repeats."""


def validate(document: Document, variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What a file and ``MX10_…`` variables set, section by section, each value of its setting's type.

    Raises:
        ConfigError: with everything that is wrong in either.
    """
    problems = [*_unknown_keys(document), *_unknown_variables(variables)]
    known = keys()
    named = {variable_key(name): name for name in variables if variable_key(name) in known}
    # What is no section, or no table, is among the problems already.
    values = {
        section: table for section, table in document.values.items() if section in SECTIONS and isinstance(table, dict)
    }
    sections: dict[str, dict[str, Any]] = {}
    try:
        checked = _settings(values, {name: variables[name] for name in named.values()})
    except ValidationError as error:
        problems += [
            _wrong_value(detail, document, named)
            for detail in error.errors(include_url=False, include_context=False)
            if detail["type"] != "extra_forbidden"
        ]
    else:
        for section in checked.model_fields_set:
            given: BaseModel = getattr(checked, section)
            sections[section] = {name: getattr(given, name) for name in given.model_fields_set}
    if problems:
        raise ConfigError(problems)
    return sections


class _Environment(EnvSettingsSource):
    """``MX10_SECTION__NAME=VALUE``; a list is written with commas."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
            return [item.strip() for item in value.split(",") if item.strip()]
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            # Left as it is, it fails the check of its type, which tells what is wrong.
            return value


@cache
def _section_models() -> dict[str, type[BaseModel]]:
    """Each section's settings as pydantic takes them: strict, and no key that is not there."""
    models: dict[str, type[BaseModel]] = {}
    for section, kind in SECTIONS.items():
        default = kind()
        fields: dict[str, Any] = {
            name: (_read_from_toml(hint), getattr(default, name))
            for name, hint in get_type_hints(kind, include_extras=True).items()
        }
        models[section] = create_model(section, __config__=ConfigDict(strict=True, extra="forbid"), **fields)
    return models


def _read_from_toml(hint: Any) -> Any:
    """A field's type; TOML has neither tuples nor paths, so for these a list or a text is right even when strict."""
    return Annotated[hint, Field(strict=False)] if get_origin(hint) is tuple or Path in get_args(hint) else hint


def _settings(values: dict[str, Any], variables: Mapping[str, str]) -> BaseSettings:
    """Validate; a variable goes before the file.

    Raises:
        pydantic.ValidationError: with every wrong value.
    """

    defaults = keys()

    class Given(BaseSettings):
        model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", strict=True)

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            environment = _Environment(settings_cls)
            # The environment is an argument here, not the process's own.
            environment.env_vars = {
                # pydantic-settings does not decode an empty text, and that is how a shell writes an empty list.
                name.lower(): "[]" if not text and isinstance(defaults[variable_key(name)], tuple) else text
                for name, text in variables.items()
            }
            return environment, init_settings

    fields: dict[str, Any] = {
        section: (model, Field(default_factory=model)) for section, model in _section_models().items()
    }
    return create_model("Settings", __base__=Given, **fields)(**values)


# What is wrong


def _unknown_keys(document: Document) -> Iterator[ConfigProblem]:
    """Sections and keys of the file that do not exist, each with the one that was probably meant."""
    known = keys()
    for section, table in document.values.items():
        where = document.where((section,))
        if section not in SECTIONS:
            yield ConfigProblem(where, section, *_unknown_section(section, table))
        elif not isinstance(table, dict):
            yield ConfigProblem(where, section, "is a section, not a key", f"write [{section}] and its keys below it")
        else:
            for name in table:
                key = f"{section}.{name}"
                if key not in known:
                    yield ConfigProblem(
                        document.where((section, name)), key, "no such key", _nearest_key(section, name)
                    )


def _unknown_section(word: str, value: object) -> tuple[str, str]:
    if not isinstance(value, dict):
        return "no such key outside a section", _nearest_key("", word)
    meant = nearest(word, SECTIONS)
    return "no such section", f"did you mean [{meant}]?" if meant else f"there are {', '.join(SECTIONS)}"


def _nearest_key(section: str, name: str) -> str:
    """The mend for a key that is not there: the nearest in its section, else the key of that name in another one."""
    known = [key.partition(".") for key in keys()]
    if meant := nearest(name, [other for place, _, other in known if place == section]):
        return f"did you mean {meant}?"
    if places := [place for place, _, other in known if other == name]:
        return f"it belongs in section [{'] or ['.join(places)}]"
    if meant := nearest(name, [other for _, _, other in known]):
        place = next(place for place, _, other in known if other == meant)
        return f"did you mean {meant} in section [{place}]?"
    return "`mx10 config show` lists all keys"


def _unknown_variables(variables: Mapping[str, str]) -> Iterator[ConfigProblem]:
    names = {PREFIX + key.upper().replace(".", "__"): key for key in keys()}
    for variable in variables:
        # Exactly as documented: mx10_… in lower case does not start with the prefix, and MX10_Log__level would not be
        # seen as one key.
        if variable not in names:
            meant = nearest(variable.upper(), [*names, FILE_VARIABLE])
            mend = (
                f"did you mean {meant}?" if meant else "`mx10 config show` lists all keys; MX10_SECTION__KEY sets one"
            )
            yield ConfigProblem(variable, "", "no such setting", mend)


def _wrong_value(detail: Mapping[str, Any], document: Document, named: Mapping[str, str]) -> ConfigProblem:
    """One of pydantic's errors in our words."""
    path = tuple(str(part) for part in detail["loc"])
    key = ".".join(path[:2])
    where = named.get(key) or document.where(path[:2])
    what = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ").replace("valid tuple", "list")
    return ConfigProblem(where, key, f"{what}, not {_shown(detail['input'])}")


def _shown(value: object) -> str:
    """A wrong value, as TOML would write it where that is easy."""
    try:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool | list) else str(value)
    except (TypeError, ValueError, RecursionError):
        # TOML's dates within a list, or a number too long to print.
        text = f"a {type(value).__name__}"
    return printable(text, _VALUE)
