"""``mx10 store``: the database that holds the zones. One file a verb."""

from typing import Final

SUMMARY = "the database of zones: where it is, and upgrades"

SUBVERBS: Final = {
    "show": "mx10.cli.store.show",
    "upgrade": "mx10.cli.store.upgrade",
}
"""Verb to its module, in the order of ``mx10 store --help``."""
