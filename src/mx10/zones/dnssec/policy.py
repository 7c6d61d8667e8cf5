"""What somebody wants of a zone's signing: the configuration's ``[dnssec]``, and what was said for one zone alone.

A zone keeps only what differs from the configuration (JSON in ``zones.signing``), so that a new default reaches every
zone nobody set apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, Self, get_type_hints

from mx10.config.settings import DnssecSettings

DAY: Final = 86400
HOUR: Final = 3600
ALGORITHMS: Final = {8: "RSASHA256", 13: "ECDSAP256SHA256", 15: "ED25519"}
"""Algorithms we sign with, by number (RFC 8624 section 3.1), and their names in the IANA registry."""

KeyStyle = Literal["csk", "ksk+zsk"]
Denial = Literal["nsec", "nsec3", "nsec3-opt-out"]


class PolicyError(ValueError):
    """A policy that cannot be: which value, and what a good one looks like."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How a zone is signed; the meaning of each field is that of the setting of the same name."""

    algorithm: int = 13
    keys: KeyStyle = "csk"
    rsa_bits: int = 2048
    denial: Denial = "nsec"
    signature_days: int = 14
    refresh_days: int = 5
    jitter_hours: int = 12
    zsk_days: int = 90
    ksk_days: int = 0
    dnskey_ttl: int = 3600
    propagation_seconds: int = 3600
    parent_propagation_seconds: int = 3600
    parent_check_seconds: int = 300

    def __post_init__(self) -> None:
        """Check what no single field can know.

        Raises:
            PolicyError: signatures would end before they are made anew.
        """
        if self.refresh_days * DAY + self.jitter_hours * HOUR >= self.signature_days * DAY:
            raise PolicyError(
                f"signature_days ({self.signature_days}) should be more than refresh_days ({self.refresh_days}) and"
                f" jitter_hours ({self.jitter_hours}) together, or signatures end before they are made anew"
            )

    @classmethod
    def of(cls, settings: DnssecSettings, overrides: Mapping[str, Any] | None = None) -> Self:
        """The policy of the configuration, changed by what was said for one zone.

        Raises:
            PolicyError: a value cannot be.
        """
        values = {field.name: getattr(settings, field.name) for field in fields(cls)}
        return cls(**values | checked(overrides or {}))

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles its keys have: ``csk``, or ``ksk`` and ``zsk``."""
        return ("csk",) if self.keys == "csk" else ("ksk", "zsk")

    def lifetime(self, role: str) -> int:
        """Seconds after which a key of a role is rolled over; 0: never by itself."""
        return (self.zsk_days if role == "zsk" else self.ksk_days) * DAY

    def with_changes(self, overrides: Mapping[str, Any]) -> Self:
        """The same with some fields changed.

        Raises:
            PolicyError: a value cannot be.
        """
        return replace(self, **checked(overrides))


def checked(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What was said for one zone, each value held against the setting's own limits.

    Args:
        overrides: from the store or the command line.

    Raises:
        PolicyError: no such field, or its value cannot be.
    """
    hints = get_type_hints(DnssecSettings, include_extras=True)
    known = {field.name for field in fields(Policy)}
    for name, value in overrides.items():
        if name not in known:
            raise PolicyError(f"a policy has no {name!r}; it has {', '.join(sorted(known))}")
        _check(name, value, hints[name])
    return dict(overrides)


def _check(name: str, value: object, hint: Any) -> None:
    if not hasattr(hint, "__metadata__"):
        choices = hint.__args__
        if value not in choices:
            raise PolicyError(f"{name} should be one of {', '.join(choices)}, not {value!r}")
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise PolicyError(f"{name} should be a whole number, not {value!r}")
    for rule in hint.__metadata__:
        try:
            rule.check(value)
        except ValueError as error:
            raise PolicyError(f"{name} {error}, not {value}") from None
