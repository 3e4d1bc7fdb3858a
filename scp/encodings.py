"""Which encoding of each object a peer gets, once it has said what it accepts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.domain import ResultKind
from core.forms import ResultForm, every_form, sop_class_name
from custody.ledger.deliveries import DueDelivery, StoredObject


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do about one delivery.

    Parameters
    ----------
    due
        Which one.
    object
        What to send, or what would have been sent.
    accepted
        Whether the peer takes it.
    note
        Why it is another encoding than the settings ask for, or none; empty where nothing is to be said.
    """

    due: DueDelivery
    object: StoredObject
    accepted: bool
    note: str


def choose_encodings(
    due: Sequence[DueDelivery],
    offered: Iterable[StoredObject],
    wanted: ResultForm,
    accepted: Collection[str],
    fixed: Mapping[str, str] | None = None,
) -> list[Choice]:
    """Choose one form for all objects of a job, so that a report refers to the segmentation beside it.

    Parameters
    ----------
    due
        Deliveries of one job to one peer.
    offered
        Every encoding of every kind that the peer gets of this job, those that it has already included.
    wanted
        The form that the settings ask for.
    accepted
        SOP Class UIDs that the peer accepted.
    fixed
        By kind the variant that the peer has already: the rest has to fit.
    """
    fixed = fixed or {}
    by_place = {(one.kind, one.variant): one for one in offered}
    kinds = dict.fromkeys(kind for kind, _ in by_place)

    def of(form: ResultForm, kind: str) -> StoredObject | None:
        return by_place.get((kind, form.variant(ResultKind(kind))))

    def rank(form: ResultForm) -> tuple[int, int, int]:
        taken = [one for kind in kinds if (one := of(form, kind)) is not None]
        variants = {kind: form.variant(ResultKind(kind)) for kind in fixed}
        fits = all(not variant or variant == fixed[kind] for kind, variant in variants.items())
        return fits, sum(one.sop_class_uid in accepted for one in taken), len(taken)

    # `max` returns the first of equals: the wanted form, then what is to take its place, then whatever else
    # was written, for the settings may have changed since.
    form = max((*wanted.alternatives(), *every_form()), key=rank)
    choices = []
    for one in due:
        as_chosen_before = by_place[one.object.kind, one.object.variant]
        chosen = of(form, one.object.kind) or as_chosen_before
        takes = chosen.sop_class_uid in accepted
        first = of(wanted, one.object.kind) or as_chosen_before
        refused = f"{sop_class_name(first.sop_class_uid)} is not accepted by the peer"
        note = "" if takes and chosen is first else refused
        if takes and note:
            note += f"; sent as {chosen.variant or chosen.kind}"
        choices.append(Choice(one, chosen, takes, note))
    return choices
