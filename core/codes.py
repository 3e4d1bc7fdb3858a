"""Coded concepts, each with the context group or template it was taken from."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """A coded concept (PS3.3 8.8): Code Value, Coding Scheme Designator, Code Meaning."""

    value: str
    scheme: str
    meaning: str


#: Concepts that no public scheme offers; declared in Coding Scheme Identification Sequence (0008,0110).
PRIVATE_SCHEME = "99LESIONNODE"
PRIVATE_SCHEME_NAME = "lesion-node concepts"

# Anatomy: CID 4030 and the modifier Laterality, CID 244
LUNG = Code("39607008", "SCT", "Lung")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
BILATERAL = Code("51440002", "SCT", "Bilateral")

# Segmented property: category CID 7150, types CID 7151 and following
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Altered Structure")
GROUND_GLASS_OPACITY = Code("112120", "DCM", "Ground glass opacity")
CONSOLIDATION = Code("95436008", "SCT", "Lung consolidation")
LESION = Code("52988006", "SCT", "Lesion")

# Measurements: TID 1411, CID 7469 / 7461
VOLUME = Code("118565006", "SCT", "Volume")
ATTENUATION_MEAN = Code("112181", "DCM", "Attenuation Coefficient Mean")
ATTENUATION_SD = Code("112183", "DCM", "Attenuation Coefficient Standard Deviation")
PERCENT_OF_LUNG = Code("percent-of-lung", PRIVATE_SCHEME, "Percent of lung volume")
LESION_COUNT = Code("lesion-count", PRIVATE_SCHEME, "Number of lesions")
SEVERITY_SCORE = Code("severity-6-zone", PRIVATE_SCHEME, "CT severity score, six zones, 0-24")

# Free text about the examination: CID 6, PS3.16
COMMENT = Code("121106", "DCM", "Comment")

# Title of measurement reports: CID 7021
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")

# Key Object Selection document title: CID 7010
OF_INTEREST = Code("113000", "DCM", "Of Interest")

# Units: UCUM
CUBIC_CENTIMETER = Code("cm3", "UCUM", "Cubic centimeter")
PERCENT = Code("%", "UCUM", "Percent")
HOUNSFIELD_UNIT = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
NO_UNITS = Code("1", "UCUM", "no units")

# Algorithm family: CID 7162
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
