"""The ways from one version of the store to the next, as Alembic runs them; ``mx10.store.upgrade`` starts it.

A file in ``versions`` for each, numbered; its number also stands in ``mx10.store.versions``. A migration says the whole
of what it does itself and imports no table of ours: those go on changing, it must not.
"""
