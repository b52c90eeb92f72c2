"""Migrations make what the models say, on both databases; releases check that they did."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import make_url

from bridge.db import Base, Database
from bridge.db.upgrade import alembic_config, check, upgrade
from bridge.errors import DatabaseError


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request, tmp_path):
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/bridge.db"
        return
    server = Database(request.getfixturevalue("postgres_url"))
    autocommit = server.engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        connection.execute(text("CREATE DATABASE migrations"))
    yield make_url(server.url).set(database="migrations").render_as_string(hide_password=False)
    with autocommit.connect() as connection:
        connection.execute(text("DROP DATABASE migrations"))
    server.close()


@pytest.fixture
def migrated(empty_url):
    """A database that migrations have made."""
    upgrade(empty_url)
    database = Database(empty_url)
    yield database
    database.close()


def checks(connection: Connection) -> dict[str, set[str]]:
    """Return the names of every table's checks: Alembic itself does not compare them."""
    inspector = inspect(connection)
    return {
        table: {str(found["name"]) for found in inspector.get_check_constraints(table)}
        for table in Base.metadata.tables
    }


def test_migrations_make_the_models_tables(migrated, database):
    with migrated.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        made = checks(connection)
    with database.engine.connect() as connection:
        assert made == checks(connection)
    assert made["executions"] >= {"ck_executions_final_has_finish"}


def test_partial_indexes_are_partial(migrated):
    with migrated.engine.connect() as connection:
        indexes = inspect(connection).get_indexes("executions")
    dialect = migrated.engine.dialect.name
    partial = {
        found["name"]
        for found in indexes
        if found.get("dialect_options", {}).get(f"{dialect}_where") is not None
    }
    assert partial == {
        "ix_executions_queue",
        "ix_executions_array",
        "ix_executions_array_open",
        "ix_executions_cancel",
    }


def test_upgrading_again_changes_nothing(migrated, empty_url):
    check(empty_url)
    upgrade(empty_url)
    check(empty_url)


def test_there_and_back(migrated):
    from alembic import command

    with migrated.engine.begin() as connection:
        command.downgrade(alembic_config(connection), "base")
    with migrated.engine.connect() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}


def test_rows_of_the_first_release_stay(empty_url):
    """SQLite copies a table to change it, while rows of others refer to it."""
    database = Database(empty_url)
    try:
        keep_rows(database, empty_url)
    finally:
        database.close()


def keep_rows(database, empty_url):
    from alembic import command

    now = "2026-01-01 00:00:00"
    with database.engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
    with database.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO images (id, cluster, tenant, reference, status, status_message, "
                "attempts, digest, sif_path, create_time) VALUES (7, 'alpha', 'PHYSICS', "
                "'r/a:1', 'READY', '', 0, 'sha256:1', '/x.sif', :now)"
            ),
            {"now": now},
        )
        actors = inspect(connection).get_columns("actors")
        given = {
            "id": "a1", "tenant": "PHYSICS", "owner": "alice", "cluster": "alpha", "image_id": 7,
            "image": "r/a:1", "status": "READY", "create_time": now, "last_update_time": now,
            "state": "{}", "hints": "[]", "default_environment": "{}", "mounts": "[]",
            "token": "false",
        }  # fmt: skip
        for column in actors:
            if not column["nullable"] and column["name"] not in given:
                kind = column["type"].python_type
                given[column["name"]] = kind() if kind in (int, bool) else ""
        names = ", ".join(given)
        values = ", ".join(f":{name}" for name in given)
        connection.execute(text(f"INSERT INTO actors ({names}) VALUES ({values})"), given)
    upgrade(empty_url)
    with database.engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT images.status, images.sif_path, images.owner, actors.id FROM images "
                "JOIN actors ON actors.image_id = images.id"
            )
        ).all()
    assert [tuple(row) for row in found] == [("REQUESTED", "/x.sif", "", "a1")]


def test_another_schema_is_refused(empty_url):
    with pytest.raises(DatabaseError, match="at schema none, this release needs"):
        check(empty_url)
    upgrade(empty_url)
    database = Database(empty_url)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    database.close()
    with pytest.raises(DatabaseError, match=r"at schema older.*bridge db upgrade"):
        check(empty_url)


def test_a_database_that_cannot_be_opened(tmp_path):
    with pytest.raises(DatabaseError, match="cannot be used"):
        check(f"sqlite:///{tmp_path}/no/such/directory/bridge.db")


def test_there_is_one_head(tmp_path):
    with Database(f"sqlite:///{tmp_path}/x.db").engine.connect() as connection:
        scripts = ScriptDirectory.from_config(alembic_config(connection))
    assert len(scripts.get_heads()) == 1
