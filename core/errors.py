"""Everything that can go wrong, as one tree.

::

    NodeError
    ├ ConfigurationError              exit status 78, every fault listed at once
    ├ SpoolError
    │  ├ SpoolFull                    C-STORE status 0xA700
    │  │  └ DiskUnderFloor            refused before the disk is full
    │  ├ SpoolDamaged                 a file that the ledger knows is gone or is another one
    │  ├ LedgerUnavailable            C-STORE status 0xA700
    │  ├ StorageUnreachable           the shared storage; retried
    │  ├ PackageMissing               deleted, or never published
    │  ├ PackageDamaged               never used; published again where its files still are
    │  └ PackageDiffers               other content under a published name
    ├ DataSetError                    a data set that cannot be taken in
    │  ├ UnparsableDataSet            C-STORE status 0xC000
    │  └ SopClassMismatch             C-STORE status 0xA900
    ├ Draining                        C-STORE status 0xA700: nothing new is accepted
    ├ SeriesForgotten                 its patient was forgotten this moment; the image is of a new series
    ├ SeriesRejected                  refused with a reason; never retried
    │  ├ MissingSlices                a gap, or uneven spacing
    │  ├ InconsistentGeometry         mixed orientation, uneven slide, duplicates, two frames of reference
    │  ├ UnsupportedImage             not an axial CT in HU, unreadable pixels
    │  │  └ OtherImages               localizer, reformation, bolus tracking: nobody waits for a result
    │  └ NotAChest                    no lungs in view
    ├ ModelError
    │  ├ ModelIntegrity               manifest and file disagree; the node does not start
    │  ├ ModelNotLicensed             the configuration does not accept the package's licence
    │  └ ProviderUnavailable          policy require-gpu and no GPU
    ├ InferenceError                  retried, then failed
    │  ├ OutOfDeviceMemory
    │  └ DeviceFailed                 retried by a new process: in this one the device stays broken
    ├ ResultEncodingError             the writers refuse to write (mixed patients, lost characters)
    └ DeliveryError
       ├ PeerUnreachable              the whole lane of the peer pauses
       │  └ TransferBroken            the same, and the job on which it broke waits longer
       ├ PatientDiffers               held: the peer files the study under another patient
       └ PeerRefused(status)          by the status: retried with backoff, or given up

Messages are for the person who has to act on them: what was found and what to do. They never hold patient
identifiers, because they end up in logs.
"""

from __future__ import annotations


class NodeError(Exception):
    """Base of every error this product raises on purpose."""


class ConfigurationError(NodeError):
    """The configuration cannot be used.

    Parameters
    ----------
    faults
        One line for every fault found: file, key, what was found and what is wanted.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class SpoolError(NodeError):
    """The spool folder cannot be read or written."""


class SpoolFull(SpoolError):
    """The disk is under its floor or refused a write; the sender keeps its copy and tries again."""


class DiskUnderFloor(SpoolFull):
    """There is less free space than reception leaves for the results of what it accepted."""


class SpoolDamaged(SpoolError):
    """A file that the ledger knows is gone, damaged, or another one than it was."""


class LedgerUnavailable(SpoolError):
    """The ledger's database cannot be reached or does not answer; whoever waits for it tries again."""


class StorageUnreachable(SpoolError):
    """The shared storage does not answer, refuses this node or is not mounted; it may be there later."""


class PackageMissing(SpoolError):
    """The shared storage does not hold the package."""


class PackageDamaged(SpoolError):
    """The package is not what was published; the message names the first file that differs."""


class PackageDiffers(SpoolError):
    """Other content is published under this name already; packages never change."""


class DataSetError(NodeError):
    """A received data set cannot be taken in."""


class UnparsableDataSet(DataSetError):
    """The identity of the data set (patient, study, series, instance) cannot be read."""


class SopClassMismatch(DataSetError):
    """The data set is of another SOP Class or SOP Instance than the C-STORE command announced."""


class Draining(NodeError):
    """The node finishes what is here and accepts nothing new; the sender keeps its copy and tries again."""


class SeriesForgotten(NodeError):
    """A series was deleted with its patient while an image of it was being recorded."""


class SeriesRejected(NodeError):
    """The series cannot be analysed; the message says why and what would help."""


class MissingSlices(SeriesRejected):
    """Slices are missing or unevenly spaced."""


class InconsistentGeometry(SeriesRejected):
    """The images of the series do not form one regular stack."""


class UnsupportedImage(SeriesRejected):
    """The images are not original axial CT images in Hounsfield units, or their pixels cannot be read."""


class OtherImages(UnsupportedImage):
    """Images of another purpose than a chest scan: refused without an object that says so.

    Localizers, reformations and bolus tracking come with every examination. Nobody waits for a result of
    theirs, and a page for each that says "not analysed" would bury the ones that matter.
    """


class NotAChest(SeriesRejected):
    """No pair of lungs is in view."""


class ModelError(NodeError):
    """A model package cannot be used."""


class ModelIntegrity(ModelError):
    """The manifest is faulty, or the model file is not the one that the manifest describes."""


class ModelNotLicensed(ModelError):
    """The package carries a restricted licence that the configuration does not accept by name."""


class ProviderUnavailable(ModelError):
    """The configured execution policy cannot be met on this machine."""


class InferenceError(NodeError):
    """The model failed on this series."""


class OutOfDeviceMemory(InferenceError):
    """The accelerator's memory did not suffice."""


class DeviceFailed(InferenceError):
    """The accelerator failed, and does not work again for the life of this process."""


class ResultEncodingError(NodeError):
    """A result object would be wrong, so it is not written."""


class DeliveryError(NodeError):
    """A result could not be delivered to a peer."""


class PeerUnreachable(DeliveryError):
    """The peer cannot be talked to at all: nobody answers, or it turns every request of ours away.

    Parameters
    ----------
    message
        What happened, in the user's words.
    retry_after_s
        After how many seconds the peer wants to be asked again; None where it did not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TransferBroken(PeerUnreachable):
    """The peer is there but the session for some objects failed: it may be about to go, or not bear these."""


class PatientDiffers(DeliveryError):
    """The peer files the study under another patient than the results name; the message names neither."""


class PeerRefused(DeliveryError):
    """The peer answered an object or a query with a failure status, or not legibly.

    Parameters
    ----------
    message
        What happened, in the user's words.
    status
        DIMSE status (PS3.7 C), or the Failure Reason of STOW-RS (PS3.18 I.2.2), which are the same numbers;
        None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
