"""Transactions shared by threads that would otherwise wait for each other's flush."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Piece:
    work: Callable[[Connection], Any]
    order: str
    done: bool = False
    outcome: Any = None
    error: BaseException | None = None


class GroupCommit:
    """Runs pieces of work of many threads in common transactions.

    Whoever finds no transaction under way becomes the leader: it takes everything that waits into one
    transaction. Whoever comes meanwhile waits for the next one. A thread alone waits for nobody.

    Parameters
    ----------
    transaction
        Opens a writing transaction that commits at its end.
    """

    def __init__(self, transaction: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._transaction = transaction
        self._leading = threading.Lock()
        self._adding = threading.Lock()
        self._waiting: list[_Piece] = []

    def run(self, work: Callable[[Connection], _T], order: str = "") -> _T:
        """Do one piece of work; return its outcome once it is committed, or raise its error."""
        piece = _Piece(work, order)
        with self._adding:
            self._waiting.append(piece)
        with self._leading:
            if not piece.done:
                with self._adding:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        if piece.error is not None:
            raise piece.error
        return cast(_T, piece.outcome)

    def _commit(self, batch: list[_Piece]) -> None:
        batch.sort(key=lambda piece: piece.order)
        try:
            with self._transaction() as connection:
                if len(batch) == 1:  # undone with the transaction where it fails
                    batch[0].outcome = batch[0].work(connection)
                else:
                    for piece in batch:
                        self._do(connection, piece)
        except BaseException as error:  # noqa: BLE001 - every thread of the batch has to hear of it
            for piece in batch:
                piece.error = piece.error or error
        for piece in batch:
            piece.done = True

    def _do(self, connection: Connection, piece: _Piece) -> None:
        """Do one piece inside a savepoint, so that its failure undoes nothing of the others.

        Where the savepoint is gone with it, so is the whole transaction (SQLite on a full disk): the original
        error is raised then, and none of the batch is done.
        """
        savepoint = connection.begin_nested()
        try:
            piece.outcome = piece.work(connection)
            savepoint.commit()
        except Exception as error:  # noqa: BLE001 - raised again in the thread whose work it was
            piece.error = error
            try:
                savepoint.rollback()
            except DatabaseError:
                raise error from None
