#!/usr/bin/env python3
"""Writes the part of docs/configuration.md that lists every key, from mx10/config/settings.py.

With ``--check`` it only says whether the page is right.

The text under a field is read from the source, as Python keeps none for a class's attributes.
"""

import ast
import inspect
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from mx10.config import settings
from mx10.config.settings import SECTIONS, Form, Range

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
BEGIN: Final = "<!-- Written by `make docs` from src/mx10/config/settings.py: change it there. -->\n"
END: Final = "<!-- The end of what `make docs` writes. -->\n"

FORMS: Final = {
    settings.AddressAndPort: "an IP address, and a port if wanted",
    settings.Address: "an IP address",
    settings.Network: "a network, as 192.0.2.0/24",
    settings.StoreUrl: "a URL",
    settings.AccessEntry: "a network, as 192.0.2.0/24, or a key, as key:transfer.example, or both joined by +",
    settings.Domain: "a domain",
    settings.NotifyTarget: "an IP address, a port if wanted, and #KEY if wanted",
}


def main() -> int:
    """Write the page; exit code 1 if ``--check`` finds it out of date."""
    now = PAGE.read_text(encoding="utf-8")
    new = page(now)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new, encoding="utf-8")
        return 0
    if new != now:
        print(f"{PAGE} is not as the settings are; `make docs` mends it", file=sys.stderr)
    return int(new != now)


def page(text: str) -> str:
    """The page with its list of keys as the settings are now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + "\n".join(section(*each) for each in SECTIONS.items()) + "\n" + END + after


def section(name: str, kind: type) -> str:
    """One section: what it is about, and its keys."""
    default, texts = kind(), field_texts(kind)
    lines = [f"### [{name}]", "", inspect.getdoc(kind) or "", ""]
    for key, field in kind.__dataclass_fields__.items():  # type: ignore[attr-defined]  # SECTIONS holds dataclasses only
        lines += [f"**`{key}`** — {meaning(field.type)}; default {shown(getattr(default, key))}  ", texts[key], ""]
    return "\n".join(lines)


def field_texts(kind: type) -> dict[str, str]:
    """The text under each field of a class."""
    tree = ast.parse(inspect.getsource(kind))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    found: dict[str, str] = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            if not (isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)):
                raise SystemExit(f"{kind.__name__}.{field.target.id} has no text under it that says what it is")
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def meaning(hint: Any) -> str:
    """A type and its limits in words."""
    origin, parts = get_origin(hint), get_args(hint)
    if hint in FORMS:
        return FORMS[hint]
    if origin is Annotated:
        limits = [rule for rule in parts[1:] if isinstance(rule, Range)]
        if any(isinstance(rule, Form) for rule in parts[1:]):
            raise SystemExit(f"{hint} has a form that FORMS does not name")
        return f"{meaning(parts[0])} from {limits[0].low:,} to {limits[0].high:,}" if limits else meaning(parts[0])
    if origin is tuple:
        return f"a list; each item {meaning(parts[0])}"
    if origin is Literal:
        return "one of " + ", ".join(f'`"{part}"`' for part in parts)
    if Path in parts:
        return "a path"
    return {int: "an integer", float: "a number", str: "a text", bool: "`true` or `false`"}[hint]


def shown(value: object) -> str:
    """A default as TOML has it."""
    if value is None:
        return "unset"
    return f"`{json.dumps(str(value) if isinstance(value, Path) else value)}`"


if __name__ == "__main__":
    raise SystemExit(main())
