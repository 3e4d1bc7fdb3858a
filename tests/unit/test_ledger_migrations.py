"""The schema that migrations build is the schema that the code uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from custody.ledger import Ledger, engine
from custody.ledger.tables import metadata
from tests.helpers.instances import fresh_ledger


def test_migrating_an_empty_file_gives_the_schema_of_the_code(tmp_path: Path) -> None:
    """Nothing that the tables declare is missing, different or superfluous after migrating."""
    with fresh_ledger(tmp_path) as ledger, ledger.write() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_unique_and_foreign_keys_are_really_there(tmp_path: Path) -> None:
    """What autogeneration may overlook on SQLite: unique constraints, foreign keys, primary keys."""
    with fresh_ledger(tmp_path) as ledger, ledger.read() as connection:
        found = inspect(connection)
        for table in metadata.sorted_tables:
            keys = {key["constrained_columns"][0] for key in found.get_foreign_keys(table.name)}
            assert keys == {key.parent.name for key in table.foreign_keys}
            primary = found.get_pk_constraint(table.name)["constrained_columns"]
            assert primary == [column.name for column in table.primary_key]
        assert len(found.get_unique_constraints("series")) == 1
        assert len(found.get_unique_constraints("job")) == 1
        assert len(found.get_unique_constraints("delivery")) == 1


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    """Every start migrates; on a current ledger that is a no-operation."""
    with fresh_ledger(tmp_path) as ledger:
        before = _schema(ledger)
        ledger.migrate()
        assert _schema(ledger) == before


def test_a_ledger_with_everything_in_it_survives_every_migration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of the first schema are there afterwards, unharmed, and all that refers to them."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    upgrade = engine.alembic.command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(engine.alembic.command, "upgrade", lambda config, _head: upgrade(config, "0001"))
        ledger.migrate()
    with ledger.write() as connection:
        for statement in _ROWS_OF_0001:
            connection.exec_driver_sql(statement)
    ledger.migrate()
    with ledger.read() as connection:
        (stored,) = connection.exec_driver_sql("SELECT kind, variant, corrected FROM result_object").all()
        assert tuple(stored) == ("segmentation", "", "")
        for table in ("series", "job", "delivery"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    ledger.close()


_ROWS_OF_0001 = (
    "INSERT INTO series (id, study_instance_uid, series_instance_uid, patient_digest, modality, "
    "first_received_at, last_received_at, generation) VALUES ('s', '1', '2', 'd', 'CT', 1, 1, 1)",
    "INSERT INTO acquisition (id, study_instance_uid, patient_digest, frame_of_reference_uid, "
    "acquisition_number) VALUES ('a', '1', 'd', '3', '1')",
    "INSERT INTO job (id, series_id, acquisition_id, generation, calling_ae_title, state, evidence, model, "
    "sealed_at, due_at, attempt) VALUES ('j', 's', 'a', 1, 'CT1', 'analysed', 'quiet', 'm', 1, 1, 1)",
    "INSERT INTO result_object (id, job_id, position, kind, sop_class_uid, sop_instance_uid, path, sha256, "
    "written_at) VALUES ('r', 'j', 0, 'segmentation', '1', '2.25.1', '/x', '0', 1)",
    "INSERT INTO delivery (id, result_object_id, job_id, peer, state, due_at, attempt, created_at) "
    "VALUES ('d', 'r', 'j', 'pacs', 'due', 1, 0, 1)",
)


def test_what_came_with_comparisons_can_be_taken_back(tmp_path: Path) -> None:
    """A ledger goes back to the schema before time points and searches, and forward again."""
    with fresh_ledger(tmp_path) as ledger:
        before = _schema(ledger)
        config = Config()
        config.set_main_option("script_location", str(Path(engine.__file__).with_name("migrations")))
        with ledger.write() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0003")
        with ledger.read() as connection:
            assert {"time_point", "prior_search"} & set(inspect(connection).get_table_names()) == set()
        ledger.migrate()
        assert _schema(ledger) == before


def test_there_is_one_line_of_migrations() -> None:
    """The revisions form one chain with a single head, and their files are part of the package."""
    config = Config()
    config.set_main_option("script_location", str(Path(engine.__file__).with_name("migrations")))
    script = ScriptDirectory.from_config(config)
    assert len(script.get_heads()) == 1
    assert len(script.get_bases()) == 1


def test_an_interrupted_migration_leaves_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The migration is one transaction: broken off, nothing of it is there; the next start repeats it."""
    ledger = Ledger(tmp_path / "ledger.sqlite")

    def break_off(*_arguments: object) -> None:
        raise OSError("power cut")

    upgrade = engine.alembic.command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(engine.alembic.command, "upgrade", lambda *given: (upgrade(*given), break_off()))
        with pytest.raises(OSError, match="power cut"):
            ledger.migrate()
    with ledger.read() as connection:
        assert inspect(connection).get_table_names() == []
    ledger.migrate()
    ledger.close()


def _schema(ledger: Ledger) -> list[tuple[object, ...]]:
    with ledger.read() as connection:
        rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master ORDER BY name")
        return [tuple(row) for row in rows]
