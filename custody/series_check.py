"""Compares what the ledger says of a series with what lies in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import SpoolDamaged
from custody.disagreement import Disagreement, Kind
from custody.instance_files import data_set_sha256, data_set_size, names_in
from custody.ledger.comparables import Holding
from custody.manifest import Manifest, reread_manifest

#: A file that is younger may be on its way into the ledger this moment.
ARRIVING_S = 60.0
#: A write that has not ended after so long never will.
_CUT_OFF_AFTER_S = 600.0


@dataclass(slots=True)
class SeriesCheck:
    """How to look.

    Parameters
    ----------
    received
        Folder of all received series.
    node
        Whose files are here; None for a ledger of our own, where all of them are.
    quick
        Presence and size only.
    now
        Seconds since 1970 UTC.
    """

    received: Path
    node: str | None
    quick: bool
    now: float

    def look(self, held: Holding) -> Iterator[Disagreement]:
        """Yield what does not agree about a series' images."""
        known: set[Path] = set()
        readable = True
        for row in held.manifests:
            if not self._is_here(row.node):
                continue
            path = Path(row.path)
            known.add(path)
            try:
                listed = reread_manifest(path, row.sha256)
            except SpoolDamaged:
                if row.purged_at is None:
                    readable = False
                    kind = Kind.MANIFEST_DAMAGED if path.exists() else Kind.MANIFEST_MISSING
                    yield Disagreement(kind, str(path), held.row.id, f"it lists {row.instances} images")
                continue
            known |= {path.parent / one.file for one in listed.instances}
            yield from self._manifest(held, row, listed)
        for row in held.instances:
            if self._is_here(row.node):
                known.add(Path(row.path))
                if row.sha256:  # empty where it is noted already that the file is gone
                    yield from self._image(held.row.id, Path(row.path), row)
        yield from self._senders(held, {row.source for row in held.instances})
        yield from self._jobs(held)
        yield from self._strangers(held, known, readable=readable)

    def _is_here(self, node: str) -> bool:
        return self.node is None or node == self.node

    def _manifest(self, held: Holding, row: Any, listed: Manifest) -> Iterator[Disagreement]:
        of, path = held.row, str(row.path)
        key = (of.study_instance_uid, of.series_instance_uid, of.patient_digest)
        says = (listed.key.study_instance_uid, listed.key.series_instance_uid, listed.key.patient_digest)
        if (listed.generation, len(listed.instances), *says) != (
            row.generation,
            row.instances,
            *key,
        ):
            yield Disagreement(Kind.MANIFEST_DIFFERS, path, of.id, "the ledger says otherwise of it")
        yield from self._senders(held, {one.source for one in listed.instances})
        if row.purged_at is None:
            for one in listed.instances:
                file = Path(path).parent / one.file
                yield from self._image(of.id, file, one)

    def _senders(self, held: Holding, sent: set[str]) -> Iterator[Disagreement]:
        for name in sorted(sent - held.sources):
            subject = f"{held.row.series_instance_uid}: {name}"
            yield Disagreement(Kind.SENDER_MISSING, subject, held.row.id, f"source {name} sent it")

    def _image(self, series_id: str, path: Path, noted: Any) -> Iterator[Disagreement]:
        try:
            fault = self._fault(path, noted)
        except FileNotFoundError:
            yield Disagreement(Kind.IMAGE_MISSING, str(path), series_id, "")
            return
        except (OSError, ValueError) as error:
            fault = f"it cannot be read ({type(error).__name__})"
        if fault:
            yield Disagreement(Kind.IMAGE_DAMAGED, str(path), series_id, fault)

    def _fault(self, path: Path, noted: Any) -> str:
        """Return what is wrong with an image, given its row or its entry in a manifest."""
        found = data_set_size(path)
        if found != noted.size_bytes:
            return f"{found} bytes instead of {noted.size_bytes}"
        if self.quick:
            return ""
        if data_set_sha256(path) != noted.sha256:
            return "other content than was received"
        names = (noted.sop_class_uid, noted.sop_instance_uid, noted.transfer_syntax_uid)
        return (
            ""
            if names_in(path) == (*names, noted.calling_ae_title)
            else "File Meta Information of another image"
        )

    def _jobs(self, held: Holding) -> Iterator[Disagreement]:
        there = {one.row.generation for one in held.jobs}
        for generation in range(1, held.row.generation + 1):
            if generation not in there:
                subject = f"{held.row.series_instance_uid}: generation {generation}"
                yield Disagreement(Kind.JOB_MISSING, subject, held.row.id, "it was sealed and has no job")

    def _strangers(self, held: Holding, known: set[Path], *, readable: bool) -> Iterator[Disagreement]:
        folder = self.received / held.row.id
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path in known:
                continue
            age_s = self.now - _changed_at(path, self.now)
            if path.suffix == ".part":
                if age_s > _CUT_OFF_AFTER_S:
                    detail = "a write that was cut off"
                    yield Disagreement(Kind.FILE_UNKNOWN, str(path), held.row.id, detail)
            elif age_s <= ARRIVING_S:
                continue
            elif path.name.startswith("manifest-"):
                yield Disagreement(Kind.MANIFEST_UNKNOWN, str(path), held.row.id, "")
            elif readable:  # else it may well be listed in the manifest that cannot be read
                yield Disagreement(Kind.FILE_UNKNOWN, str(path), held.row.id, "")


def _changed_at(path: Path, otherwise: float) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return otherwise
