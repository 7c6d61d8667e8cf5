"""Domains that ``mx10 backup`` set up, in the table ``relay_domains``. Commands write it here; the relay reads their
names (``domains``)."""

import json

from sqlalchemy import text

from mx10.store.connect import Store
from mx10.values import value_class


@value_class
class BackedUp:
    """A domain, in A-labels and lower case.

    Attributes:
        at: when it was set up, milliseconds since 1970.
        hostname: the name by which its MX records mean this host.
        primaries: the exchangers better than this host, as they were then; for people, as the relay looks them up anew
            each time.
    """

    domain: str
    at: int
    hostname: str = ""
    primaries: tuple[str, ...] = ()


def backed_up(store: Store) -> list[BackedUp]:
    """All of them, sorted by name.

    Raises:
        StoreError: the store cannot be read.
    """
    with store.read() as connection:
        rows = connection.execute(text("SELECT domain, at, options FROM relay_domains")).all()
    found = []
    for domain, at, options in sorted(rows):
        more = json.loads(options)
        found.append(BackedUp(domain, at, more.get("hostname", ""), tuple(more.get("primaries", ()))))
    return found


def set_up(store: Store, domain: BackedUp) -> bool:
    """Set a domain up, or write down anew what is known of it. Returns whether it is new.

    Raises:
        StoreError: the store takes nothing now.
    """
    options = json.dumps({"hostname": domain.hostname, "primaries": domain.primaries}, separators=(",", ":"))
    values = {"domain": domain.domain, "at": domain.at, "options": options}
    with store.begin() as connection:
        changed = connection.execute(text("UPDATE relay_domains SET options = :options WHERE domain = :domain"), values)
        if changed.rowcount:
            return False
        statement = "INSERT INTO relay_domains (domain, at, options) VALUES (:domain, :at, :options)"
        connection.execute(text(statement), values)
    return True


def take_down(store: Store, domain: str) -> bool:
    """No longer take mail for a domain. Returns whether we did.

    Raises:
        StoreError: the store takes nothing now.
    """
    with store.begin() as connection:
        gone = connection.execute(text("DELETE FROM relay_domains WHERE domain = :domain"), {"domain": domain})
    return bool(gone.rowcount)
