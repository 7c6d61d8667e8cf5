"""The database: SQLite by default, PostgreSQL by a URL. Tables, migrations, connections; no rule of mail or DNS.

What the rows mean is for the rooms above: ``zones.ledger`` keeps zones and their history here.
"""
