"""Many threads, one flush: each gets its own answer, and one that fails takes nobody down."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import Connection, event, func, select
from sqlalchemy.exc import IntegrityError

from custody.ledger import Ledger, incidents
from custody.ledger.incidents import IncidentKind
from custody.ledger.tables import incident, series_source
from tests.helpers.instances import NOON


def noting(subject: str) -> object:
    """Return work that records one incident and answers with its subject."""

    def work(connection: Connection) -> str:
        incidents.note(connection, IncidentKind.INSTANCE_REFUSED, subject, "why", NOON)
        return subject

    return work


def failing(connection: Connection) -> None:
    """Write something, then break a rule of the database."""
    incidents.note(connection, IncidentKind.INSTANCE_REFUSED, "broken", "why", NOON)
    connection.execute(series_source.insert().values(series_id="nobody", source="a", calling_ae_title="b"))


def subjects(ledger: Ledger) -> set[str]:
    """Return what was recorded."""
    with ledger.read() as connection:
        return set(connection.execute(select(incident.c.subject)).scalars())


def test_work_alone_is_committed_when_it_returns(ledger: Ledger) -> None:
    """Another connection sees it at once."""
    assert ledger.write_together(noting("a")) == "a"
    assert subjects(ledger) == {"a"}


def test_what_waits_while_one_commits_goes_into_one_transaction(ledger: Ledger) -> None:
    """Nine threads that come while a first one holds the transaction share the next one; each is answered."""
    commits: list[int] = []
    event.listen(ledger._engine, "commit", lambda _connection: commits.append(1))
    inside, go_on = threading.Event(), threading.Event()
    answers: dict[str, object] = {}

    def hold(connection: Connection) -> None:
        inside.set()
        assert go_on.wait(30)

    holder = threading.Thread(target=ledger.write_together, args=(hold,))
    holder.start()
    assert inside.wait(30)

    def run(name: str) -> None:
        answers[name] = ledger.write_together(noting(name), order=name)

    threads = [threading.Thread(target=run, args=(str(number),)) for number in range(9)]
    for thread in threads:
        thread.start()
    while len(ledger._group._waiting) < 9:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in (holder, *threads):
        thread.join(30)
    assert answers == {str(number): str(number) for number in range(9)}
    assert len(commits) == 2
    assert len(subjects(ledger)) == 9


def test_a_piece_that_fails_is_undone_alone(ledger: Ledger) -> None:
    """Its own thread gets the error; what shares the transaction is kept."""
    inside, go_on = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def hold(connection: Connection) -> None:
        inside.set()
        assert go_on.wait(30)

    def fail() -> None:
        try:
            ledger.write_together(failing, order="1")
        except IntegrityError as error:
            errors.append(error)

    threads = [
        threading.Thread(target=ledger.write_together, args=(hold,)),
        threading.Thread(target=fail),
        threading.Thread(target=ledger.write_together, args=(noting("kept"), "2")),
    ]
    threads[0].start()
    assert inside.wait(30)
    for thread in threads[1:]:
        thread.start()
    while len(ledger._group._waiting) < 2:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(errors) == 1
    assert subjects(ledger) == {"kept"}


def test_a_commit_that_fails_is_nobodys_success(ledger: Ledger) -> None:
    """Where the flush fails, nobody is told that the work is safe, and nothing is there."""

    def refuse(_connection: Connection) -> None:
        raise OSError("the disk is gone")

    event.listen(ledger._engine, "commit", refuse)
    try:
        with pytest.raises(OSError, match="the disk is gone"):
            ledger.write_together(noting("a"))
    finally:
        event.remove(ledger._engine, "commit", refuse)
    with ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(incident)).scalar_one() == 0
