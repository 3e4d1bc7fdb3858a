"""Which encoding of each object a peer gets, once it has said what it accepts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from core.domain import ResultKind
from core.forms import ResultForm, sop_class_name
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
) -> list[Choice]:
    """Choose one form for all objects of a job, so that a report refers to the segmentation beside it.

    Parameters
    ----------
    due
        Deliveries of one job to one peer.
    offered
        Every encoding of every kind that the peer gets of this job, those that it has already included: the
        choice must not change between two attempts because a part has arrived.
    wanted
        The form that the settings ask for.
    accepted
        SOP Class UIDs that the peer accepted.
    """
    by_place: dict[tuple[str, str], StoredObject] = {(one.kind, one.variant): one for one in offered}
    kinds = dict.fromkeys(kind for kind, _ in by_place)

    def of(form: ResultForm, kind: str) -> StoredObject | None:
        return by_place.get((kind, form.variant(ResultKind(kind))))

    def taken(form: ResultForm) -> int:
        return sum((one := of(form, kind)) is not None and one.sop_class_uid in accepted for kind in kinds)

    # `max` returns the first of equals, and the wanted form comes first.
    form = max(wanted.alternatives(), key=taken)
    choices = []
    for one in due:
        # The settings may ask for what was not written then.
        any_of_kind = next(other for (kind, _), other in by_place.items() if kind == one.object.kind)
        chosen = of(form, one.object.kind) or any_of_kind
        takes = chosen.sop_class_uid in accepted
        first = of(wanted, one.object.kind) or any_of_kind
        refused = f"{sop_class_name(first.sop_class_uid)} is not accepted by the peer"
        note = "" if takes and chosen is first else refused
        if takes and note:
            note += f"; sent as {chosen.variant or chosen.kind}"
        choices.append(Choice(one, chosen, takes, note))
    return choices
