"""From an analysis, or a refusal, to the objects that are sent: the one entrance to the writers."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from core.domain import (
    Analysis,
    ModelIdentity,
    Refusal,
    ResultFile,
    ResultKind,
    ResultObject,
    ResultSet,
)
from core.errors import ResultEncodingError
from core.forms import ResultForm, note_variant
from sr_writer.context import ResultContext, is_plain_text
from sr_writer.elements import part_10
from sr_writer.encapsulated_pdf import encapsulated_pdf
from sr_writer.fhir_bundle import FILE_NAME, encoded_bundle, fhir_bundle
from sr_writer.identity import SourceIdentity
from sr_writer.key_objects import key_objects
from sr_writer.measurement_report import measurement_report
from sr_writer.overlay import overlay_capture
from sr_writer.refusal_report import refusal_report
from sr_writer.rejection_note import rejection_notes
from sr_writer.secondary_capture import film_capture, refusal_capture
from sr_writer.segmentation import segmentation
from sr_writer.uids import ResultUids

_DEFAULT_FORMS = (ResultForm(),)


def write_results(
    analysis: Analysis,
    context: ResultContext,
    forms: Sequence[ResultForm] = _DEFAULT_FORMS,
    *,
    overlay: bool = False,
) -> ResultSet:
    """Write all results of one analysed series.

    Parameters
    ----------
    analysis
        Source volume, masks, measurements.
    context
        Who writes, when, and from which bytes.
    forms
        In which encodings.
    overlay
        Whether the outlined stack is written too, which takes as long as all other objects.

    Returns
    -------
    ResultSet
        In every form the SEG and the SR that refers to it; then the film, the key objects, the document,
        and, where the result replaces an earlier one, a rejection note. No SEG where no region has a voxel.
        The FHIR bundle is a file beside them. Each data set was encoded once and read back: writing it again
        gives the very bytes that were verified.

    Raises
    ------
    ResultEncodingError
        Where a result would be wrong: mixed patients, lost characters, masks that cannot be placed.
    """
    model = analysis.lesions.model
    _check_model(model)
    identity = SourceIdentity.of(analysis.volume)
    sources = (frame.sop_instance_uid for frame in analysis.volume.frames)
    uids = ResultUids.of(sources, identity, context, model, analysis.comparison)
    written = _Written(identity)
    segmentations: dict[str, Dataset | None] = {}
    for form in forms:
        variant = form.variant(ResultKind.SEGMENTATION)
        if variant not in segmentations:
            seg = segmentation(analysis, form, identity, context, uids)
            kept = None if seg is None else written.add(ResultKind.SEGMENTATION, seg, variant)
            segmentations[variant] = kept
    for form in forms:
        seg = segmentations[form.variant(ResultKind.SEGMENTATION)]
        report = measurement_report(analysis, seg, form, identity, context, uids)
        written.add(ResultKind.MEASUREMENT_REPORT, report, form.variant(ResultKind.MEASUREMENT_REPORT))
    film = written.add(ResultKind.FILM, film_capture(analysis, identity, context, uids))
    written.add(ResultKind.KEY_OBJECTS, key_objects(analysis, film, identity, context, uids))
    document = encapsulated_pdf(analysis, film, identity, context, uids)
    written.add(ResultKind.DOCUMENT, document)
    if overlay:
        written.add(ResultKind.OVERLAY, overlay_capture(analysis, identity, context, uids))
    notes = rejection_notes(analysis.volume.headers[0], model, identity, context, uids)
    for peer, note in notes.items():
        written.add(ResultKind.REJECTION_NOTE, note, note_variant(peer))
    missing = "No segmentation was written: neither lungs nor lesions were found."
    nothing = all(one is None for one in segmentations.values())
    report = written.first(ResultKind.MEASUREMENT_REPORT)
    bundle = ResultFile(FILE_NAME, encoded_bundle(fhir_bundle(analysis, report, identity, context, uids)))
    tracked = {one.number: uids.lesion_tracking(one.number) for one in analysis.measurements.lesions}
    return ResultSet(tuple(written.objects), (missing,) if nothing else (), (bundle,), tracked)


def write_refusal(
    refusal: Refusal, context: ResultContext, forms: Sequence[ResultForm] = _DEFAULT_FORMS
) -> ResultSet:
    """Write what tells a PACS that a series was not analysed, and why.

    Parameters
    ----------
    refusal
        What was refused and why.
    context
        Who writes, when, and from which bytes.
    forms
        In which encodings the report is written.

    Returns
    -------
    ResultSet
        Reports, and a page in place of the film: the kinds of object that a result has too, so that each
        peer gets those that it gets of a result. An earlier result is cited and not withdrawn: it was right
        for the images that were there, and nothing better takes its place.

    Raises
    ------
    ResultEncodingError
        Where it is not certain whose images they are, or their text cannot be copied without loss.
    """
    _check_model(refusal.model)
    identity = SourceIdentity.of_headers(refusal.headers)
    sources = (str(header.SOPInstanceUID) for header in refusal.headers)
    uids = ResultUids.of(sources, identity, context, refusal.model)
    written = _Written(identity)
    for form in forms:
        report = refusal_report(refusal, form, identity, context, uids)
        written.add(ResultKind.MEASUREMENT_REPORT, report, form.variant(ResultKind.MEASUREMENT_REPORT))
    written.add(ResultKind.FILM, refusal_capture(refusal, identity, context, uids))
    return ResultSet(tuple(written.objects))


class _Written:
    """The objects written so far, encoded and verified."""

    def __init__(self, identity: SourceIdentity) -> None:
        self._identity = identity
        self.objects: list[ResultObject] = []

    def add(self, kind: ResultKind, result: Dataset, variant: str = "") -> Dataset:
        """Encode an object, verify it, and keep and return it as it was read back."""
        read_back = _encoded(result, self._identity)
        self.objects.append(ResultObject(kind, read_back, variant))
        return read_back

    def first(self, kind: ResultKind) -> Dataset:
        """Return the object of a kind that was added first."""
        return next(one.dataset for one in self.objects if one.kind is kind)


def _encoded(result: Dataset, identity: SourceIdentity) -> Dataset:
    """Encode a result, verify the bytes and return them parsed."""
    encoded = part_10(result)
    identity.verify(encoded)
    return dcmread(BytesIO(encoded))


def _check_model(model: ModelIdentity) -> None:
    longest = {"name": 64, "version": 64, "manufacturer": 64, "parameters": 1024}
    for field, length in longest.items():
        text = getattr(model, field)
        if not is_plain_text(text) or len(text) > length:
            raise ResultEncodingError(
                f"{field} of the model package is {text!r}; results need at most {length} printable ASCII "
                "characters without backslash. Correct the package's manifest."
            )
