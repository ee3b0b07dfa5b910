"""Migrations: in one transaction per step, and safe to repeat."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from brainpilot_rt.eventlog.schema import MIGRATIONS, prepare

STEP = (*MIGRATIONS, ("CREATE TABLE added (a)", "ALTER TABLE sessions ADD COLUMN pinned INTEGER"))


def test_a_step_that_fails_leaves_the_database_as_it_was(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as connection:
        epoch = prepare(connection, new_epoch="first")
        broken = (*STEP[:-1], (*STEP[-1], "CREATE TABLE broken"))
        with pytest.raises(sqlite3.OperationalError):
            prepare(connection, new_epoch="other", migrations=broken)
        tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'added'"
        assert connection.execute(tables).fetchone() == (0,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)

        for _ in range(2):
            assert prepare(connection, new_epoch="other", migrations=STEP) == epoch == "first"
        assert connection.execute(tables).fetchone() == (1,)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(STEP),)
