"""A question to the person at the terminal."""

import sys


def confirmed(question: str) -> bool:
    """Ask, and say whether the answer was yes. Where nobody can answer, it is no: scripts give ``--yes``."""
    if not sys.stdin.isatty():
        print(f"{question} Nobody is there to say yes; --yes says it.", file=sys.stderr)
        return False
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
