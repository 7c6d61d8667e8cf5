"""The ledger: zones in the store, changed only by change sets that stay on record (who, when, why, before, after).

``Ledger`` is the way in; the values it takes and gives, and what it refuses, are here beside it.
"""

from mx10.zones.ledger.difference import changes_between, same
from mx10.zones.ledger.errors import (
    ConflictError,
    GeneratedRecordError,
    HistoryError,
    InvalidEditError,
    LedgerError,
    NoSuchZoneError,
    NotEditableError,
    RevertError,
    RuleError,
    SignerMissingError,
    ZoneExistsError,
)
from mx10.zones.ledger.ledger import Ledger
from mx10.zones.ledger.options import SerialStyle, ZoneOptions
from mx10.zones.ledger.values import GENERATED, Author, Change, ChangeSet, Edit, Signer, ZoneInfo

__all__ = [
    "GENERATED", "Author", "Change", "ChangeSet", "ConflictError", "Edit", "GeneratedRecordError", "HistoryError",
    "InvalidEditError", "Ledger", "LedgerError", "NoSuchZoneError", "NotEditableError", "RevertError", "RuleError",
    "SerialStyle", "Signer", "SignerMissingError", "ZoneExistsError", "ZoneInfo", "ZoneOptions", "changes_between",
    "same",
]  # fmt: skip
