"""Kept time points: what later scans of a patient are compared with, for years, under days of their own.

Each is a file of its own beside the results, which go much earlier, and on shared storage a package of its
own for the same reason. It is there before the ledger names it, like every result.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from core.errors import SpoolDamaged, SpoolError, StorageUnreachable
from core.log import get_logger
from core.patient import Person
from core.time_point import TimePoint
from core.uid import patient_digest as digest_of
from custody.holdings import Holdings
from custody.ledger import Ledger, time_points
from custody.ledger.time_points import Kept, NewTimePoint
from custody.spool import Spool
from custody.time_point_file import KeptFor, decode, encode

#: How many go in one step: others want the disk too.
_MOST = 50
#: Between two looks for what may go, and for leftovers, s.
_PAUSE_S, _BETWEEN_SWEEPS_S = 600.0, 86_400.0
#: No time point is so large; a file that is, is none.
_MOST_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a patient from before.

    Parameters
    ----------
    points
        Numbers of the earlier scans, the oldest first; without masks and densities (`TimePoints.whole`).
    notes
        Why others were left out, English sentences without identifiers.
    """

    points: tuple[TimePoint, ...] = ()
    notes: tuple[str, ...] = ()


class TimePoints:
    """Keeps time points, finds them again, and deletes them when their days are over.

    Parameters
    ----------
    ledger, spool, holdings
        What is kept, and where.
    keep_s
        For so long; infinite for ever.
    now
        Clock, seconds since 1970 UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        spool: Spool,
        holdings: Holdings,
        keep_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._holdings = holdings
        self._keep_s = keep_s
        self._now = now
        self._next_at = 0.0
        self._swept_at = 0.0

    def keep(self, point: TimePoint, kept_for: KeptFor) -> NewTimePoint:
        """Store the time point of a job that is about to end.

        Raises
        ------
        SpoolError
            The disk does not take it.
        """
        content = encode(point, kept_for)
        path = self._spool.keep_time_point(kept_for.job_id, content)
        return _new(path, content, point, kept_for)

    def earlier(
        self,
        person: Person,
        patient_digest: str,
        study_instance_uid: str,
        most: int,
        scanned_at: datetime | None,
    ) -> Found:
        """Return the numbers of a patient's earlier studies.

        Parameters
        ----------
        person
            Whose scan is to be compared: birth date and sex have to agree.
        patient_digest
            `core.uid.patient_digest` of Patient ID and issuer; merged identities count.
        study_instance_uid
            Of that scan; nothing of its own study is returned.
        most
            So many, the newest.
        scanned_at
            When that scan was made, by the scanner's own clock; nothing later is returned. None: unknown, so
            nothing is known to be earlier.

        Raises
        ------
        StorageUnreachable
            They are on the shared storage, which may answer later. What is damaged is a note.
        """
        with self._ledger.read() as connection:
            known = time_points.of_patient(connection, patient_digest)
            strangers = self._without_issuer(connection, person, known)
        known = [one for one in known if one.study_instance_uid != study_instance_uid]
        if not known:
            return Found((), strangers)
        if not person.patient_id:
            return Found((), ("This scan has no Patient ID: it is not compared with earlier ones.",))
        if not person.digest:
            words = "This scan has no birth date or no sex to confirm the Patient ID: it is not compared."
            return Found((), (words,))
        same = [one for one in known if one.person_digest == person.digest]
        notes = _noted(len(known) - len(same), _STRANGERS)
        if scanned_at is None:
            return Found((), (*strangers, *notes, "This scan has no date: it is not compared with others."))
        past = [one for one in same if one.scanned_at is None or one.scanned_at <= scanned_at.isoformat()]
        notes += _noted(len(same) - len(past), _LATER)
        points, damaged = self._read(past[-most:], numbers_only=True)
        return Found(tuple(points), (*strangers, *notes, *noted_unreadable(damaged)))

    def whole(self, point: TimePoint) -> TimePoint:
        """Return a time point with its masks and densities.

        Raises
        ------
        SpoolDamaged
            It is gone or damaged by now.
        StorageUnreachable
            It may be there later.
        """
        with self._ledger.read() as connection:
            known = time_points.of_digests(connection, [point.digest])
        points, _ = self._read(known, numbers_only=False)
        if not points:
            raise SpoolDamaged("a kept scan is gone or damaged: run `lesion-node verify`")
        return points[0]

    def of_digests(self, digests: Collection[str]) -> tuple[TimePoint, ...]:
        """Return the numbers of the time points with these contents, those that are still here."""
        with self._ledger.read() as connection:
            known = time_points.of_digests(connection, digests)
        return tuple(self._read(known, numbers_only=True)[0])

    def history(self, patient_digest: str) -> tuple[Found, ...]:
        """Return the numbers of all scans of a patient, the oldest first, for people.

        Scans with another birth date or sex are apart, as they are where scans are compared.

        Raises
        ------
        StorageUnreachable
            They may be there later.
        """
        with self._ledger.read() as connection:
            known = time_points.of_patient(connection, patient_digest)
        persons = dict.fromkeys(one.person_digest for one in known)
        groups = ([one for one in known if one.person_digest == person] for person in persons)
        read = [self._read(group, numbers_only=True) for group in groups]
        return tuple(Found(tuple(points), noted_unreadable(damaged)) for points, damaged in read)

    @staticmethod
    def _without_issuer(connection: Connection, person: Person, known: Sequence[Kept]) -> tuple[str, ...]:
        """Tell of scans that seem to be of the same person and name no Issuer of Patient ID."""
        if not (person.patient_id and person.issuer and person.digest):
            return ()
        blank = time_points.of_patient(connection, digest_of(person.patient_id, ""))
        here = {one.job_id for one in known}
        others = [one for one in blank if one.person_digest == person.digest and one.job_id not in here]
        return _noted(len(others), _UNISSUED)

    def step(self) -> int:
        """Delete what its days have ended; return how many."""
        now = self._now()
        if now < self._next_at <= now + _PAUSE_S:  # later than that: the clock was set back
            return 0
        because = f"its days are over (time point, {self._keep_s / 86400:g} days)"
        with self._ledger.write() as connection:
            marked = time_points.purge(connection, now - self._keep_s, because, _MOST, now)
            going = time_points.purged(connection, 2 * _MOST)
        for job_id, size in marked.items():
            get_logger().info("purged", job=job_id, what="time point", because=because, files=1, bytes=size)
        deleted = [job_id for job_id in going if self._deleted(job_id)]
        if deleted:
            with self._ledger.write() as connection:
                time_points.gone(connection, deleted)
        if len(marked) < _MOST:
            self._next_at = now + _PAUSE_S
        if now - self._swept_at > _BETWEEN_SWEEPS_S:
            self._swept_at = now
            self._sweep()
        return len(marked)

    def _deleted(self, job_id: str) -> bool:
        try:
            self._holdings.delete_time_point(job_id)
        except (SpoolError, OSError) as error:
            get_logger().error("purge_impossible", job=job_id, reason=str(error))
            return False
        return True

    def _sweep(self) -> None:
        """Delete what jobs that ended otherwise, or on another machine, have left here."""
        with os.scandir(self._spool.time_points) as entries:
            names = [entry.name for entry in entries if entry.is_dir()]
        for start in range(0, len(names), _MOST):
            with self._ledger.read() as connection:
                leftovers = time_points.unwanted(connection, names[start : start + _MOST])
            for job_id in leftovers:
                self._spool.drop_time_point(job_id)

    def _read(self, known: Sequence[Kept], *, numbers_only: bool) -> tuple[list[TimePoint], int]:
        """Read time points; return those that are whole, and how many are not."""
        points, damaged = [], 0
        for one in known:
            try:
                if not one.path.exists():
                    self._holdings.bring_time_point(one.job_id, one.package)
                content = self._content(one)
                points.append(decode(content, numbers_only=numbers_only)[0])
            except StorageUnreachable:
                raise  # not gone: whoever needs it waits
            except (SpoolError, OSError) as error:
                get_logger().error("time_point_unreadable", job=one.job_id, reason=str(error))
                damaged += 1
        return points, damaged

    def _content(self, one: Kept) -> bytes:
        path = one.path if one.path.exists() else self._spool.copy_of(one.path)
        if path.stat().st_size != one.size_bytes:  # before the memory for it is taken
            raise SpoolDamaged(f"{path} is not what was written")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != one.sha256:
            raise SpoolDamaged(f"{path} is not what was written")
        return content


def described(path: Path) -> NewTimePoint:
    """Read from a time point's file what the ledger says of it, for a ledger that is made anew.

    Raises
    ------
    SpoolDamaged
        It is damaged.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise SpoolDamaged("a kept scan cannot be read (it is far too large)")
        content = path.read_bytes()
    except OSError as error:
        raise SpoolDamaged(f"a kept scan cannot be read ({error.strerror})") from None
    return _new(path, content, *decode(content, numbers_only=True))


def _new(path: Path, content: bytes, point: TimePoint, kept_for: KeptFor) -> NewTimePoint:
    return NewTimePoint(
        path=path,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        patient_digest=kept_for.patient_digest,
        person_digest=kept_for.person_digest,
        study_instance_uid=point.facts.study_instance_uid,
        scanned_at=point.facts.scanned_at,
        digest=point.digest,
    )


def noted_unreadable(count: int) -> tuple[str, ...]:
    """Say how many earlier scans cannot be read any more; nothing of none."""
    return _noted(count, _DAMAGED)


def _noted(count: int, words: tuple[str, str]) -> tuple[str, ...]:
    """Say of how many scans something holds, nothing of none; `words`: for one, for several."""
    if not count:
        return ()
    one, several = words
    return (one if count == 1 else f"{count} {several}",)


_STRANGERS = (
    "An earlier scan under this Patient ID has another birth date or sex, or none: not compared.",
    "earlier scans under this Patient ID have another birth date or sex, or none: not compared.",
)
_UNISSUED = (
    "An earlier scan has this Patient ID without an issuer: not compared.",
    "earlier scans have this Patient ID without an issuer: not compared.",
)
_LATER = (
    "A scan of this patient is dated later than this one: not compared.",
    "scans of this patient are dated later than this one: not compared.",
)
_DAMAGED = (
    "An earlier scan cannot be read on the node any more: not compared.",
    "earlier scans cannot be read on the node any more: not compared.",
)
