"""The tables, for both databases. ``migrations`` makes them; a test holds the two equal.

Names of zones are folded wire names. Owners are *order keys* (``mx10.dns.wirename.order_key``) relative to their zone:
octets that sort as DNSSEC sorts names (RFC 4034 section 6.1), so that what lies below a name, and what stands before
it, is a range of the primary key. Data of a record set is what ``mx10.store.datas`` packs. Times are milliseconds since
1970 (UTC).
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

metadata: Final = MetaData()

# SQLite numbers rows by itself only where the column is an INTEGER, which holds 64 bits there.
_ID: Final = BigInteger().with_variant(Integer, "sqlite")

zones: Final = Table(
    "zones",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("apex", LargeBinary, nullable=False, unique=True),
    Column("kind", Text, nullable=False),  # primary | secondary | catalog
    Column("serial", BigInteger, nullable=False),
    Column("rrsets", BigInteger, nullable=False),  # record sets it holds, generated ones included
    Column("served", SmallInteger, nullable=False),  # 0: answered with SERVFAIL (a secondary that expired)
    Column("options", Text, nullable=False),  # JSON: what was set for this zone alone (serial style, transfers, …)
    Column("signing", Text, nullable=False),  # JSON: policy and state of DNSSEC; "" where mx10 does not sign it
    Column("following", Text, nullable=False),  # JSON: state of a secondary (next refresh, expiry); "" for a primary
    Column("resign_at", BigInteger, index=True),  # seconds: when signatures want to be made anew; none: not signed here
    Column("keys_at", BigInteger),  # when a step in the life of its keys is due; none: no such moment is known
    sqlite_autoincrement=True,
)
Index(
    "zones_keys_at",
    zones.c.keys_at,
    sqlite_where=text("keys_at IS NOT NULL"),
    postgresql_where=text("keys_at IS NOT NULL"),
)

rrsets: Final = Table(
    "rrsets",
    metadata,
    Column("zone", BigInteger, ForeignKey("zones.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("owner", LargeBinary, primary_key=True),
    Column("type", Integer, primary_key=True, autoincrement=False),
    Column("ttl", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
# Which NSEC3 record stands before a hash (RFC 5155 section 7.2.1): they lie among the other names in the primary key.
Index("rrsets_nsec3", rrsets.c.zone, rrsets.c.owner, sqlite_where=text("type = 50"), postgresql_where=text("type = 50"))

change_sets: Final = Table(
    "change_sets",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("apex", LargeBinary, nullable=False),  # not the zone's id: history outlives a zone
    Column(
        "kind", Text, nullable=False
    ),  # create | edit | import | update | transfer | sign | revert | delete | settings
    Column("serial_before", BigInteger),  # none for a zone that was not there
    Column("serial_after", BigInteger),  # none for a zone that is gone
    Column("author", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("settings", Text),  # JSON: options before and after; of a zone that went, its kind too; none: not touched
    sqlite_autoincrement=True,
)
Index("change_sets_apex", change_sets.c.apex, change_sets.c.id)

changes: Final = Table(
    "changes",
    metadata,
    Column(
        "change_set",
        BigInteger,
        ForeignKey("change_sets.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("owner", LargeBinary, primary_key=True),
    Column("type", Integer, primary_key=True, autoincrement=False),
    Column("ttl_before", BigInteger),  # none: the record set was not there
    Column("data_before", LargeBinary),
    Column("ttl_after", BigInteger),  # none: it is not there any more
    Column("data_after", LargeBinary),
    sqlite_with_rowid=False,
)
"""What a change set changed. That which creates a zone has no rows: what the zone held at first is what it holds now
without all that came later."""

feed: Final = Table(
    "feed",
    metadata,
    Column("seq", _ID, primary_key=True, autoincrement=True),
    Column("apex", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""Zones whose answers changed, in the order of commits; nameservers read on from where they were. Old rows go after a
while: a reader that finds a gap looks at everything anew."""

keys: Final = Table(
    "keys",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("zone", BigInteger, ForeignKey("zones.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("role", Text, nullable=False),  # csk | ksk | zsk
    Column("algorithm", Integer, nullable=False),
    Column("dnskey", LargeBinary, nullable=False),  # data of the DNSKEY record
    Column("secret", LargeBinary, nullable=False),  # private key, encrypted
    Column("state", Text, nullable=False),  # JSON: where the key is in its life, and since when
    sqlite_autoincrement=True,
)

messages: Final = Table(
    "messages",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=False),  # mx10.relay.values.Ids
    Column("arrived_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("remind_at", BigInteger, nullable=False, index=True),  # when its sender hears of a delay, or of the end
    Column("reverse_path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),  # octets of head and body
    Column("envelope", Text, nullable=False),  # JSON: what else is known of it (mx10.relay.values.Envelope)
    Column("head", LargeBinary, nullable=False),  # fields that we put before it
    Column("body", LargeBinary),  # none: in a file named after it, or in body_parts
)
"""The spool: messages that have recipients left."""

body_parts: Final = Table(
    "body_parts",
    metadata,
    Column("message", BigInteger, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)
"""Bodies of large messages where several relays share a spool, and so no file of one of them will do."""

recipients: Final = Table(
    "recipients",
    metadata,
    Column("message", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),  # from 0, within its message
    Column("address", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("node", Integer, nullable=False),  # who delivers it (table nodes)
    Column("state", Text, nullable=False),  # queued | held | apart
    Column("due_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("options", Text, nullable=False),  # JSON: notify, orcpt; "" where there are none
    Column("last", Text, nullable=False),  # JSON: how the last attempt ended; "" before the first
    sqlite_with_rowid=False,
)
Index("recipients_due", recipients.c.node, recipients.c.state, recipients.c.domain, recipients.c.due_at)

attempts: Final = Table(
    "attempts",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("message", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),  # JSON: steps and fate
    sqlite_autoincrement=True,
)
Index("attempts_message", attempts.c.message, attempts.c.number, attempts.c.id)
"""Attempts that did not deliver, of recipients that are still there."""

spool_changes: Final = Table(
    "spool_changes",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("message", BigInteger),  # none: look at everything
    Column("at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""What commands did to the spool; the relay reads on from where it was."""

spool_orders: Final = Table(
    "spool_orders",
    metadata,
    Column("id", _ID, primary_key=True, autoincrement=True),
    Column("at", BigInteger, nullable=False),
    Column("line", Text, nullable=False),  # JSON: the event for the log
    sqlite_autoincrement=True,
)
"""The same for people: the relay writes it into its log, and it goes."""

nodes: Final = Table(
    "nodes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 0 to 255
    Column("name", Text, nullable=False, unique=True),
    Column("seen_at", BigInteger, nullable=False),
)
"""Relays that share this spool. Of one that was not seen for a while the others take the messages."""

known_recipients: Final = Table(
    "known_recipients",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("local", Text, primary_key=True),
    Column("known", SmallInteger, nullable=False),  # 1: its primary takes mail for it, 0: refuses
    Column("reply", Text, nullable=False),  # what the primary said
    Column("source", Text, nullable=False),  # call | delivery
    Column("at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)
"""What primaries said about recipients."""

relay_domains: Final = Table(
    "relay_domains",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("options", Text, nullable=False),  # JSON: what `mx10 backup` found and was told
)
"""Domains that `mx10 backup` set up."""

greylist: Final = Table(
    "greylist",
    metadata,
    Column("key", Text, primary_key=True),
    Column("first_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False, index=True),
    Column("passed", SmallInteger, nullable=False),
)
"""Who tried to send what before."""
