"""Configuration: one TOML file, ``mx10.toml``, and ``MX10_…`` environment variables, become one typed object.

``settings`` says which keys there are, with their units, defaults and limits: to add a setting, add a field there.
``sources`` reads the file, ``validate`` checks it and the environment with pydantic-settings, and ``quick`` spares most
commands the time of loading that. Every value keeps where it came from, so that ``mx10 config show``, and every error,
can say it.
"""

from mx10.config.errors import ConfigError, ConfigProblem
from mx10.config.load import Loaded, load
from mx10.config.settings import (
    Config,
    FollowingSettings,
    LabSettings,
    LogSettings,
    NameserverSettings,
    RecipientSettings,
    RelaySettings,
    ResolverSettings,
    RoutingSettings,
    StoreSettings,
    UpdateSettings,
    ZoneSettings,
)

__all__ = [
    "Config",
    "ConfigError",
    "ConfigProblem",
    "FollowingSettings",
    "LabSettings",
    "Loaded",
    "LogSettings",
    "NameserverSettings",
    "RecipientSettings",
    "RelaySettings",
    "ResolverSettings",
    "RoutingSettings",
    "StoreSettings",
    "UpdateSettings",
    "ZoneSettings",
    "load",
]
