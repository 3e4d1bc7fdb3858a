"""What is negotiated with a caller that was admitted: who may send, ask, report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    BasicFilmSession,
    StorageCommitmentPushModel,
    Verification,
)

_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
#: Stands for classes that a caller may not use: a class of printing, which is never supported.
_UNSUPPORTED = UID(BasicFilmSession)
#: Source of a caller that may send nothing.
NO_SOURCE = ""


def proposes_commitment(contexts: Iterable[Any]) -> bool:
    """Tell whether the Storage Commitment Push Model is among what a caller proposes."""
    return any(context.abstract_syntax == StorageCommitmentPushModel for context in contexts)


def may_bring_images(contexts: Sequence[Any], source: str) -> bool:
    """Tell whether completion has to wait for the end of an association.

    A scanner may hold one open for hours that is about commitment alone.
    """
    others = {context.abstract_syntax for context in contexts} - {StorageCommitmentPushModel, Verification}
    return source != NO_SOURCE and (bool(others) or not proposes_commitment(contexts))


def offer_commitment(association: Any, *, may_ask: bool, may_report: bool) -> None:
    """Support the Storage Commitment Push Model on one association, before it is negotiated.

    Parameters
    ----------
    association
        pynetdicom's, requested and not answered yet.
    may_ask
        Whether the caller may be the SCU, which asks for commitment.
    may_report
        Whether it may be the SCP, which reports on what was asked of it.
    """
    if not (may_ask or may_report):
        return
    context = build_context(StorageCommitmentPushModel, [*_UNCOMPRESSED])
    context.scu_role, context.scp_role = may_ask, may_report
    acceptor = association.acceptor
    acceptor.supported_contexts = [*acceptor.supported_contexts, context]
    # pynetdicom 3.0 with UNRESTRICTED_STORAGE_SERVICE drops the answers to role proposals of all classes that
    # are not for storage. A peer that gets none must take it that it may not report (PS3.7 D.3.3.4).
    wanted = association.requestor.role_selection.get(StorageCommitmentPushModel)
    proposed = association.requestor.primitive.presentation_context_definition_list
    if wanted is None or not proposes_commitment(proposed):
        return
    as_scu, as_scp = bool(wanted.scu_role) and may_ask, bool(wanted.scp_role) and may_report
    if as_scu or as_scp:
        acceptor.add_negotiation_item(build_role(StorageCommitmentPushModel, as_scu, as_scp))


def forbid_storage(association: Any) -> None:
    """Have everything rejected except Verification and commitment; to be called before the negotiation.

    pynetdicom accepts every storage class, known or not, from everybody. A class that it knows for something
    else, and that is not supported, is rejected as the standard wants it.
    """
    request = association.requestor.primitive
    contexts = []
    for context in request.presentation_context_definition_list:
        renamed = copy(context)
        if context.abstract_syntax not in (Verification, StorageCommitmentPushModel):
            renamed.abstract_syntax = _UNSUPPORTED
        contexts.append(renamed)
    request.presentation_context_definition_list = contexts
