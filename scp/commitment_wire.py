"""The data sets of the Storage Commitment Push Model, and what they have to hold (PS3.4 J.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom._globals import STATUS_SUCCESS, STATUS_WARNING
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]
from pynetdicom.status import code_to_category

from core.uid import is_tolerable_uid
from custody.ledger.commitment_reports import COMMITTED, PROCESSING_FAILURE, Report
from custody.ledger.commitment_requests import Item

PUSH_MODEL = str(StorageCommitmentPushModel)
#: The well-known SOP Instance of the class.
PUSH_MODEL_INSTANCE = UID("1.2.840.10008.1.20.1.1")
CONTEXTS = [(PUSH_MODEL, str(ExplicitVRLittleEndian)), (PUSH_MODEL, str(ImplicitVRLittleEndian))]

REQUEST_COMMITMENT = 1
ALL_COMMITTED = 1
FAILURES_EXIST = 2

# Statuses of N-ACTION and N-EVENT-REPORT, PS3.7 10.1.1.1.8, 10.1.4.1.10 and C.
SUCCESS = 0x0000
PROCESSING_FAILED = 0x0110
NO_SUCH_SOP_INSTANCE = 0x0112
NO_SUCH_EVENT_TYPE = 0x0113
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_ACTION = 0x0123
NOT_AUTHORISED = 0x0124
#: A Failure Reason (PS3.4 J.3.3.1.1); but a report with it would bear the Transaction UID of another request.
TRANSACTION_UID_IN_USE = 0x0131
MISTYPED_ARGUMENT = 0x0212
RESOURCE_LIMITATION = 0x0213

#: A request for more instances than any study has is not taken.
MOST_ITEMS = 50_000


class Malformed(ValueError):
    """A data set that cannot be acted on.

    Parameters
    ----------
    message
        What is wrong with it.
    status
        With which it is answered.
    """

    def __init__(self, message: str, status: int = INVALID_ARGUMENT_VALUE) -> None:
        super().__init__(message)
        self.status = status


def request(transaction_uid: str, items: Sequence[Item]) -> Dataset:
    """Return the Action Information of a request for commitment, PS3.4 table J.3-1."""
    action = Dataset()
    action.TransactionUID = transaction_uid
    action.ReferencedSOPSequence = [_item(*item) for item in items]
    return action


def report(transaction_uid: str, items: Sequence[Item], outcome: Mapping[str, int]) -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of a report, PS3.4 table J.3-2.

    What the outcome does not name has failed.
    """
    event = Dataset()
    event.TransactionUID = transaction_uid
    reasons = {uid: outcome.get(uid, PROCESSING_FAILURE) for _, uid in items}
    committed = [_item(*item) for item in items if reasons[item[1]] == COMMITTED]
    failed = [_item(*item) for item in items if reasons[item[1]] != COMMITTED]
    for one in failed:
        one.FailureReason = reasons[one.ReferencedSOPInstanceUID]
    if committed:
        event.ReferencedSOPSequence = committed
    if failed:
        event.FailedSOPSequence = failed
    return (FAILURES_EXIST if failed else ALL_COMMITTED), event


def read_request(action: Dataset) -> tuple[str, list[Item]]:
    """Return Transaction UID and items of a request, each item once.

    Raises
    ------
    Malformed
        A UID is missing or none, nothing is asked for, or one instance is given two SOP Classes.
    """
    items = list(dict.fromkeys(_pair(one) for one in _sequence(action, "ReferencedSOPSequence")))
    if not items:
        raise Malformed("Referenced SOP Sequence is missing or empty")
    if len(items) > MOST_ITEMS:
        raise Malformed(f"more than {MOST_ITEMS} instances", RESOURCE_LIMITATION)
    if len({uid for _, uid in items}) < len(items):
        raise Malformed("an instance is named with two SOP Classes")
    return _uid(action, "TransactionUID"), items


def read_report(event: Dataset) -> Report:
    """Return what a report says; an instance that is named in both sequences has failed.

    Raises
    ------
    Malformed
        A UID is missing or none.
    """
    failed = {}
    for one in _sequence(event, "FailedSOPSequence"):
        reason = one.get("FailureReason")
        failed[_uid(one, "ReferencedSOPInstanceUID")] = (
            reason if isinstance(reason, int) else PROCESSING_FAILURE
        )
    named = [_pair(one) for one in _sequence(event, "ReferencedSOPSequence")]
    safe = {uid: sop_class for sop_class, uid in named if uid not in failed}
    return Report(_uid(event, "TransactionUID"), safe, failed)


def is_success(status: int) -> bool:
    """Tell whether a status means that the operation was done, perhaps with a warning."""
    return code_to_category(status) in (STATUS_SUCCESS, STATUS_WARNING)


def information(event: Any, kind: str) -> Dataset:
    """Return the data set of an N-ACTION or N-EVENT-REPORT.

    Parameters
    ----------
    event
        pynetdicom's.
    kind
        ``action`` or ``event``.

    Raises
    ------
    Malformed
        There is none, or it cannot be decoded.
    """
    try:
        found: Dataset = getattr(event, f"{kind}_information")
        len(found)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds of errors on damaged data
        raise Malformed("the data set cannot be read", MISTYPED_ARGUMENT) from None
    return found


def _item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def _sequence(dataset: Dataset, keyword: str) -> list[Dataset]:
    try:
        found = dataset.get(keyword)
        return list(found) if found else []
    except Exception:  # noqa: BLE001 - the same
        raise Malformed(f"{keyword} cannot be read", MISTYPED_ARGUMENT) from None


def _pair(item: Dataset) -> Item:
    return _uid(item, "ReferencedSOPClassUID"), _uid(item, "ReferencedSOPInstanceUID")


def _uid(dataset: Dataset, keyword: str) -> str:
    try:
        value = str(dataset.get(keyword) or "").strip(" \0")
    except Exception:  # noqa: BLE001 - the same
        value = ""
    if not is_tolerable_uid(value):
        raise Malformed(f"{keyword} is missing or no UID")
    return value
