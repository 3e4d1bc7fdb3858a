"""What a peer takes: every SOP class that this node writes, negotiated in every transfer syntax it can send.

Nothing is stored: an association is opened for what the node would propose, and released again. From the
answer follow the settings that make the most of the peer. A DICOMweb destination cannot be asked: STOW-RS
has no negotiation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from config import PeerSettings, Settings
from core.domain import ResultKind
from core.errors import DeliveryError
from core.forms import LABEL_MAP_SEGMENTATION_STORAGE, ReportClass, SegmentationEncoding, sop_class_name
from scp.transports import transport_to

#: Kinds of object, each with its SOP classes in the order of the settings' values.
SOP_CLASSES: Mapping[ResultKind, tuple[str, ...]] = {
    ResultKind.SEGMENTATION: (SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE),
    ResultKind.MEASUREMENT_REPORT: (Comprehensive3DSRStorage, ComprehensiveSRStorage),
    ResultKind.FILM: (SecondaryCaptureImageStorage,),
    ResultKind.KEY_OBJECTS: (KeyObjectSelectionDocumentStorage,),
    ResultKind.DOCUMENT: (EncapsulatedPDFStorage,),
    ResultKind.OVERLAY: (MultiFrameTrueColorSecondaryCaptureImageStorage,),
    ResultKind.REJECTION_NOTE: (KeyObjectSelectionDocumentStorage,),
}
TRANSFER_SYNTAXES: tuple[UID, ...] = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
)


@dataclass(frozen=True, slots=True)
class Probed:
    """What a peer said.

    Parameters
    ----------
    peer, address
        Its name, and where it is.
    unreachable
        Why there is no answer; empty where there is one.
    accepted
        Transfer syntaxes that it accepts, by SOP Class UID.
    negotiates
        Whether it could be asked for that at all.
    answers_queries
        Whether it can be asked for a study's patient (`peers.check_patient`).
    """

    peer: str
    address: str
    unreachable: str
    accepted: Mapping[str, frozenset[str]]
    negotiates: bool = True
    answers_queries: bool = False

    def takes(self, sop_class: str) -> bool:
        """Tell whether objects of a SOP class can be sent to it."""
        return bool(self.accepted.get(sop_class))

    def rows(self) -> Iterator[tuple[ResultKind, str, tuple[bool, ...]]]:
        """Yield kind, name of the SOP class, and whether each of `TRANSFER_SYNTAXES` is accepted."""
        for kind, classes in SOP_CLASSES.items():
            for sop_class in classes:
                known = self.accepted.get(sop_class, frozenset())
                yield kind, sop_class_name(sop_class), tuple(one in known for one in TRANSFER_SYNTAXES)

    def proposal(self, peer: PeerSettings) -> dict[str, object]:
        """Return the keys of its ``[[peers]]`` block that should change, with what they should be.

        What it does not take is left out of `objects`, so that nothing has to be refused; a SOP class that
        it refuses gives way to the one that it takes. Nothing is proposed that was not asked for: a PACS that
        stores label maps or deflated objects may have viewers that cannot show them.

        Parameters
        ----------
        peer
            Its settings as they are.
        """
        kinds = [kind for kind in peer.objects if any(self.takes(one) for one in SOP_CLASSES[kind])]
        settings: dict[str, object] = {}
        if kinds and len(kinds) < len(peer.objects):
            settings["objects"] = [kind.value for kind in kinds]
        choices: tuple[tuple[str, ResultKind, StrEnum, tuple[StrEnum, ...]], ...] = (
            ("segmentation", ResultKind.SEGMENTATION, peer.segmentation, tuple(SegmentationEncoding)),
            ("report", ResultKind.MEASUREMENT_REPORT, peer.report, tuple(ReportClass)),
        )
        for key, kind, asked_for, encodings in choices:
            taken = [
                encoding
                for encoding, sop_class in zip(encodings, SOP_CLASSES[kind], strict=True)
                if self.takes(sop_class)
            ]
            if kind in kinds and asked_for not in taken:
                settings[key] = taken[0].value
        return settings


def probe(settings: Settings, peer: PeerSettings) -> Probed:
    """Ask a peer what it takes; never raises for a peer that does not answer."""
    every_class = dict.fromkeys(one for classes in SOP_CLASSES.values() for one in classes)
    transport = transport_to(settings, peer)
    try:
        found = transport.negotiate(list(every_class), TRANSFER_SYNTAXES)
    except DeliveryError as error:
        return Probed(peer.name, transport.address, str(error), {})
    return Probed(
        peer.name,
        transport.address,
        "",
        found.accepted or {},
        negotiates=found.accepted is not None,
        answers_queries=found.answers_queries,
    )
