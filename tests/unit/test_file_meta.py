"""File Meta Information is what pydicom would write, byte for byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from core.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from scp.file_meta import file_meta


@given(st.integers(0, 10**30), st.text("ABC 123", min_size=1, max_size=16).map(str.strip).filter(bool))
def test_it_is_what_pydicom_writes(number: int, title: str) -> None:
    """For UIDs and AE titles of even and odd length."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CTImageStorage)
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.{number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = title
    stream = DicomBytesIO()
    write_file_meta_info(stream, meta, enforce_standard=True)
    written = file_meta(
        sop_class_uid=CTImageStorage,
        sop_instance_uid=f"1.2.{number}",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        source_ae_title=title,
    )
    assert written == b"\0" * 128 + b"DICM" + stream.getvalue()
