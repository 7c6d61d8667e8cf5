"""``mx10 queue``: what waits in the relay's spool. One file a verb; ``choosing`` has what they share."""

from typing import Final

SUMMARY = "mail that waits: look at it, understand it, steer it"

SUBVERBS: Final = {
    "list": "mx10.cli.queue.list_",
    "show": "mx10.cli.queue.show",
    "explain": "mx10.cli.queue.explain",
    "retry": "mx10.cli.queue.retry",
    "hold": "mx10.cli.queue.hold",
    "release": "mx10.cli.queue.release",
    "bounce": "mx10.cli.queue.bounce",
    "delete": "mx10.cli.queue.delete",
}
"""Verb to its module, in the order of ``mx10 queue --help``."""
