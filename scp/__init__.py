"""Everything that speaks to other DICOM nodes: receiving, completion, delivery, echo."""
