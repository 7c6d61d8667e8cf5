"""``mx10 nameserver``: the server that runs, looked at from outside."""

from typing import Final

SUMMARY = "look at the nameserver that runs here"

SUBVERBS: Final = {
    "status": "mx10.cli.nameserver.status",
}
