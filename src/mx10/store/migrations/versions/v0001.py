"""The first tables: zones, their record sets, their history, the feed for nameservers, and keys."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NSEC3 = sa.text("type = 50")
_DUE = sa.text("keys_at IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "zones",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("apex", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("rrsets", sa.BigInteger, nullable=False),
        sa.Column("served", sa.SmallInteger, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.Column("signing", sa.Text, nullable=False),
        sa.Column("following", sa.Text, nullable=False),
        sa.Column("resign_at", sa.BigInteger, index=True),
        sa.Column("keys_at", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("zones_keys_at", "zones", ["keys_at"], sqlite_where=_DUE, postgresql_where=_DUE)
    zone = sa.ForeignKey("zones.id", ondelete="CASCADE")
    op.create_table(
        "rrsets",
        sa.Column("zone", sa.BigInteger, zone, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.LargeBinary, primary_key=True),
        sa.Column("type", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("ttl", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("rrsets_nsec3", "rrsets", ["zone", "owner"], sqlite_where=_NSEC3, postgresql_where=_NSEC3)
    op.create_table(
        "change_sets",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("apex", sa.LargeBinary, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("serial_before", sa.BigInteger),
        sa.Column("serial_after", sa.BigInteger),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("settings", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("change_sets_apex", "change_sets", ["apex", "id"])
    change_set = sa.ForeignKey("change_sets.id", ondelete="CASCADE")
    op.create_table(
        "changes",
        sa.Column("change_set", sa.BigInteger, change_set, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.LargeBinary, primary_key=True),
        sa.Column("type", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("ttl_before", sa.BigInteger),
        sa.Column("data_before", sa.LargeBinary),
        sa.Column("ttl_after", sa.BigInteger),
        sa.Column("data_after", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feed",
        sa.Column("seq", _ID, primary_key=True, autoincrement=True),
        sa.Column("apex", sa.LargeBinary, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "keys",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("zone", sa.BigInteger, sa.ForeignKey("zones.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Integer, nullable=False),
        sa.Column("dnskey", sa.LargeBinary, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
