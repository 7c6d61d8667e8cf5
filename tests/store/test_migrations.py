"""What the migrations make is what the tables say, on both databases."""

import re
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

import mx10.store
from mx10.store import tables, versions
from mx10.store.connect import Store, open_store
from mx10.store.upgrade import upgrade


def test_the_versions_are_the_files_of_the_migrations() -> None:
    config = Config()
    folder = Path(mx10.store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    found = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == versions.VERSIONS


def test_migrations_make_what_the_tables_say(store: Store) -> None:
    with store.read() as connection:
        made = _described(connection)
    assert made.pop("alembic_version")
    with store.begin() as connection:
        if not store.is_sqlite:
            connection.exec_driver_sql("DROP TABLE alembic_version")
        tables.metadata.drop_all(connection)
        tables.metadata.create_all(connection)
        said = _described(connection)
    said.pop("alembic_version", None)
    assert made == said


def _described(connection: Connection) -> dict[str, object]:
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL")
        return {name: _words(sql) for name, sql in rows if not name.startswith("sqlite_")}
    found = inspect(connection)
    return {
        name: (
            [{key: str(value) for key, value in column.items()} for column in found.get_columns(name)],
            found.get_pk_constraint(name),
            sorted(map(str, found.get_foreign_keys(name))),
            sorted(map(str, found.get_indexes(name))),
            sorted(map(str, found.get_unique_constraints(name))),
        )
        for name in found.get_table_names()
    }


def _words(sql: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", sql)


def test_an_upgrade_of_a_current_store_does_nothing(store: Store) -> None:
    assert not upgrade(store)


def test_an_upgrade_sets_up_an_empty_store_and_tells_so(store_url: str, tmp_path: Path) -> None:
    if store_url.startswith("sqlite"):
        (tmp_path / "mx10.db").touch()
    store = open_store(store_url, check=False)
    told: list[str] = []
    assert upgrade(store, told.append)
    assert told == [f"setting up version {versions.CURRENT}"]
    store.close()
    open_store(store_url).close()
