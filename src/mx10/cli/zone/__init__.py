"""``mx10 zone``: the zones of the store. One file a verb; ``opening`` has what they share."""

from typing import Final

SUMMARY = "zones in the store: make, change, import, export, sign them; every change is on record"

SUBVERBS: Final = {
    "create": "mx10.cli.zone.create",
    "import": "mx10.cli.zone.import_",
    "export": "mx10.cli.zone.export",
    "list": "mx10.cli.zone.list_",
    "show": "mx10.cli.zone.show",
    "set": "mx10.cli.zone.set_",
    "add": "mx10.cli.zone.add",
    "remove": "mx10.cli.zone.remove",
    "apply": "mx10.cli.zone.apply",
    "log": "mx10.cli.zone.log",
    "diff": "mx10.cli.zone.diff",
    "revert": "mx10.cli.zone.revert",
    "settings": "mx10.cli.zone.settings",
    "delete": "mx10.cli.zone.delete",
    "follow": "mx10.cli.zone.follow",
    "refresh": "mx10.cli.zone.refresh",
    "notify": "mx10.cli.zone.notify",
    "sign": "mx10.cli.zone.sign",
    "unsign": "mx10.cli.zone.unsign",
    "keys": "mx10.cli.zone.keys",
    "ds": "mx10.cli.zone.ds",
    "import-keys": "mx10.cli.zone.import_keys",
    "export-keys": "mx10.cli.zone.export_keys",
}
"""Verb to its module, in the order of ``mx10 zone --help``."""
