"""UIDs of results: the same inputs always give the same ones, any other input gives others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from core.comparison import Comparison
from core.domain import ModelIdentity, Region, ResultKind, SOPInstanceUID
from core.errors import ResultEncodingError
from core.uid import derived_uid
from sr_writer.context import ResultContext
from sr_writer.identity import SourceIdentity


@dataclass(frozen=True, slots=True)
class ResultUids:
    """Derives every UID of one run of the writers.

    Parameters
    ----------
    run
        Everything that makes this run another one than any other: who, what from, what with.
    patient
        Who the patient is, for what is tracked over time.
    analysis
        What made the masks: the run without what it was compared with, so that a lesion that is new has one
        Tracking UID, whether its scan was compared at once, later, or never.
    tracked
        Tracking UIDs of lesions that were there in an earlier scan, by number.
    """

    run: tuple[str, ...]
    patient: tuple[str, ...]
    analysis: tuple[str, ...]
    tracked: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        instance_uids: Iterable[str],
        identity: SourceIdentity,
        context: ResultContext,
        model: ModelIdentity,
        comparison: Comparison | None = None,
    ) -> ResultUids:
        """Collect the inputs; `instance_uids` are the SOP Instance UIDs of the source images.

        A study sent again with a corrected Patient ID keeps its SOP Instance UIDs; without the patient and
        the digests among the inputs, its results would bear the UIDs of the wrong patient's results.

        Raises
        ------
        ResultEncodingError
            Where the digest of a source instance is unknown.
        """
        sources: list[str] = []
        for uid in sorted(set(instance_uids)):
            digest = context.source_digests.get(SOPInstanceUID(uid))
            if digest is None:
                raise ResultEncodingError(
                    "The digest of a source image is unknown, so no UID can be derived for its results. "
                    "Have the series sent again."
                )
            sources += [uid, digest]
        analysis = (
            identity.text("PatientID"),
            identity.text("IssuerOfPatientID"),
            identity.text("StudyInstanceUID"),
            context.software_version,
            model.sha256,
            model.parameters,
            context.settings_digest,
            context.provider,
            str(context.generation),
            *sources,
        )
        if comparison is None:
            return cls(analysis, identity.patient_key, analysis)
        run = (*analysis, "compared with", *comparison.inputs)
        return cls(run, identity.patient_key, analysis, comparison.tracking_uids)

    def series(self, kind: ResultKind, variant: str) -> str:
        """Return the Series Instance UID of a kind of result; a variant is an encoding of it."""
        return derived_uid("series", kind.value, variant, *self.run)

    def instance(self, kind: ResultKind, variant: str) -> str:
        """Return the SOP Instance UID of a kind of result."""
        return derived_uid("instance", kind.value, variant, *self.run)

    def dimension_organization(self, kind: ResultKind, variant: str) -> str:
        """Return the Dimension Organization UID (0020,9164) of a multi-frame result."""
        return derived_uid("dimensions", kind.value, variant, *self.run)

    def rest_tracking(self, region: Region) -> str:
        """Return the Tracking UID of what of a lung is no lesion."""
        return _of_patient(f"{region.name} without lesions", self.patient)

    def tracking(self, region: Region) -> str:
        """Return the Tracking UID (0062,0021) of a region: the same in every study of the patient."""
        return _of_patient(region.name, self.patient)

    def lesion_tracking(self, number: int) -> str:
        """Return the Tracking UID of a single lesion: the one of an earlier scan, else its own."""
        return self.tracked.get(number) or derived_uid("lesion tracking", str(number), *self.analysis)


def tracked_over_time(patient: tuple[str, ...]) -> list[str]:
    """Return the Tracking UIDs of everything that is the same in every study of a patient, in one order."""
    names = [region.name for region in Region]
    return [_of_patient(name, patient) for one in names for name in (one, f"{one} without lesions")]


def _of_patient(name: str, patient: tuple[str, ...]) -> str:
    return derived_uid("tracking", name, *patient)


def observer_uid(context: ResultContext) -> str:
    """Return the Device Observer UID of this installation."""
    return derived_uid("device observer", context.manufacturer, context.device_serial_number)
