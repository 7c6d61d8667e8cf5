"""How Alembic reaches the database: over the connection and inside the transaction that ``mx10.store.upgrade`` gives
it, so that a migration happens wholly or not at all on both databases."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
