"""Coded concepts, each with the context group or template it was taken from."""

from __future__ import annotations

from typing import NamedTuple

from core.uid import derived_uid


class Code(NamedTuple):
    """A coded concept (PS3.3 8.8): Code Value, Coding Scheme Designator, Code Meaning."""

    value: str
    scheme: str
    meaning: str


#: Concepts that no public scheme offers; declared in Coding Scheme Identification Sequence (0008,0110).
#: docs/results.md has a table of them.
PRIVATE_SCHEME = "99LESIONNODE"
PRIVATE_SCHEME_NAME = "lesion-node concepts"
#: The scheme's identifier in FHIR (as a URN) and in Coding Scheme UID (0008,010C).
PRIVATE_SCHEME_UID = derived_uid("coding scheme", PRIVATE_SCHEME)

# Anatomy: CID 4030 and the modifier Laterality, CID 244
LUNG = Code("39607008", "SCT", "Lung")
RIGHT = Code("24028007", "SCT", "Right")
LEFT = Code("7771000", "SCT", "Left")
BILATERAL = Code("51440002", "SCT", "Bilateral")
# Zone of lung: CID 6171. CID 2 has superior and inferior, but nothing for the middle of three
UPPER_ZONE = Code("281392002", "SCT", "Upper zone of lung")
MIDDLE_ZONE = Code("281393007", "SCT", "Middle zone of lung")
LOWER_ZONE = Code("281394001", "SCT", "Lower zone of lung")

# Segmented property: category CID 7150, types CID 7151 and following
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
MORPHOLOGICALLY_ALTERED_STRUCTURE = Code("49755003", "SCT", "Morphologically Altered Structure")
GROUND_GLASS_OPACITY = Code("112120", "DCM", "Ground glass opacity")
CONSOLIDATION = Code("95436008", "SCT", "Lung consolidation")
# CID 6104 has the two separately, no public scheme has one that is both
MIXED_OPACITY = Code("mixed-opacity", PRIVATE_SCHEME, "Mixed ground glass opacity and consolidation")
LESION = Code("52988006", "SCT", "Lesion")

# Measurements: TID 1411, CID 7469 / 7461
VOLUME = Code("118565006", "SCT", "Volume")
ATTENUATION_MEAN = Code("112181", "DCM", "Attenuation Coefficient Mean")
ATTENUATION_SD = Code("112183", "DCM", "Attenuation Coefficient Standard Deviation")
# Of a lesion its share of the lung; of a lung the share that is lesion
PERCENT_LESION = Code("percent-lesion", PRIVATE_SCHEME, "Percent of lung volume that is lesion")
PERCENT_OF_LUNG = Code("percent-of-lung", PRIVATE_SCHEME, "Percent of lung volume")
LESION_COUNT = Code("lesion-count", PRIVATE_SCHEME, "Number of lesions")
SEVERITY_SCORE = Code("severity-6-zone", PRIVATE_SCHEME, "CT severity score, six zones, 0-24")

# A single lesion. Axes: CID 7470
LONG_AXIS = Code("103339001", "SCT", "Long Axis")
SHORT_AXIS = Code("103340004", "SCT", "Short Axis")
PERCENT_CONSOLIDATION = Code(
    "percent-consol", PRIVATE_SCHEME, "Percent of lesion volume that is consolidation"
)
# A point is SCOORD3D elsewhere; TID 1411 takes none beside a segment, Comprehensive SR takes none at all
CENTROID_X = Code("centroid-x", PRIVATE_SCHEME, "Centroid, x, to the patient's left")
CENTROID_Y = Code("centroid-y", PRIVATE_SCHEME, "Centroid, y, to the patient's back")
CENTROID_Z = Code("centroid-z", PRIVATE_SCHEME, "Centroid, z, to the patient's head")

# A zone of a lung. Not the names of a whole lung's numbers: these stand in the group of a lung, and a reader
# that takes a group's numbers by their names alone must not take a zone's for the lung's
ZONE_PERCENT_LESION = Code("zone-percent", PRIVATE_SCHEME, "Percent of zone volume that is lesion")
ZONE_LESION_VOLUME = Code("zone-lesion-vol", PRIVATE_SCHEME, "Lesion volume in zone")
ZONE_SCORE = Code("zone-score", PRIVATE_SCHEME, "CT severity score of zone, 0-4")

# Change since an earlier scan: what differs CID 6133, how CID 6134; CID 6134 has neither new nor resolved
DIFFERENCE_IN_SIZE = Code("442714003", "SCT", "Difference in size")
INCREASE = Code("15454001", "SCT", "Increase in size")
DECREASE = Code("19776001", "SCT", "Decrease in size")
NO_SIGNIFICANT_CHANGE = Code("129723006", "SCT", "No significant changes in the finding")
NEW = Code("7147002", "SCT", "New")
RESOLVED = Code("723506003", "SCT", "Resolved")
# CID 7465 has no change over time. Names of their own again: no reader may take them for the numbers of now
PRIOR_VOLUME = Code("prior-volume", PRIVATE_SCHEME, "Volume in the prior scan")
VOLUME_CHANGE = Code("volume-change", PRIVATE_SCHEME, "Change of volume since the prior scan")
VOLUME_CHANGE_PERCENT = Code(
    "volume-chg-pct", PRIVATE_SCHEME, "Change of volume, percent of the prior volume"
)
VOLUME_CHANGE_PER_DAY = Code("volume-chg-day", PRIVATE_SCHEME, "Change of volume per day")
PRIOR_PERCENT_OF_LUNG = Code("prior-of-lung", PRIVATE_SCHEME, "Percent of lung volume in the prior scan")
PERCENT_OF_LUNG_CHANGE = Code("of-lung-change", PRIVATE_SCHEME, "Change of percent of lung volume")
PRIOR_PERCENT_LESION = Code(
    "prior-lesion", PRIVATE_SCHEME, "Percent of lung volume that is lesion in the prior scan"
)
PERCENT_LESION_CHANGE = Code(
    "lesion-change", PRIVATE_SCHEME, "Change of percent of lung volume that is lesion"
)
ZONE_PERCENT_CHANGE = Code(
    "zone-pct-change", PRIVATE_SCHEME, "Change of percent of zone volume that is lesion"
)
ZONE_LESION_CHANGE = Code("zone-lesion-chg", PRIVATE_SCHEME, "Change of lesion volume in zone")
ZONE_GROUND_GLASS_CHANGE = Code("zone-ggo-chg", PRIVATE_SCHEME, "Change of ground glass volume in zone")
ZONE_CONSOLIDATION_CHANGE = Code("zone-consol-chg", PRIVATE_SCHEME, "Change of consolidation volume in zone")
# What became of a lesion: new, resolved, or one of these
LESION_FATE = Code("lesion-fate", PRIVATE_SCHEME, "Course of the lesion since the prior scan")
PERSISTENT = Code("persistent", PRIVATE_SCHEME, "Persistent: one prior lesion is one now")
MERGED = Code("merged", PRIVATE_SCHEME, "Merged: several prior lesions are one now")
SPLIT = Code("split", PRIVATE_SCHEME, "Split: one prior lesion is several now")
# What became of the disease; response criteria (CID 6143) are about tumours
COURSE = Code("course", PRIVATE_SCHEME, "Course of the disease since the prior scan")
COURSE_REASON = Code("course-reason", PRIVATE_SCHEME, "Reason for the course")
PROGRESSION = Code("progression", PRIVATE_SCHEME, "Progression")
REGRESSION = Code("regression", PRIVATE_SCHEME, "Regression")
STABLE = Code("stable", PRIVATE_SCHEME, "Stable")
MIXED_COURSE = Code("mixed-course", PRIVATE_SCHEME, "Mixed: more in one place, less in another")
# The parameter of what is called a change. TID 310 has the range of uncertainty (CID 225), but a NUM below a
# number of TID 1419 is its derivation parameter, whatever its relationship, to validators of that template
CHANGE_LIMIT = Code("change-limit", PRIVATE_SCHEME, "Largest difference that is called no change")
# What a change was computed from: CID 3407
PRIOR_REPORT = Code("122075", "DCM", "Prior report for current patient")

# Free text about the examination: PS3.16 annex D; TID 1500 row 14 takes any name
SUMMARY = Code("121111", "DCM", "Summary")
COMMENT = Code("121106", "DCM", "Comment")

# Title of measurement reports: CID 7021
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")

# Key Object Selection document title: CID 7010
OF_INTEREST = Code("113000", "DCM", "Of Interest")
# The same, of one that withdraws what it refers to (IHE RAD TF-2, IOCM); TID 2010 wants the reason, CID 7011
REJECTED_FOR_QUALITY = Code("113001", "DCM", "Rejected for Quality Reasons")
DOCUMENT_TITLE_MODIFIER = Code("113011", "DCM", "Document Title Modifier")
INAPPROPRIATE_PROCESSING = Code("111219", "DCM", "Inappropriate image processing")

# Units: UCUM
MILLIMETER = Code("mm", "UCUM", "millimeter")
CUBIC_CENTIMETER = Code("cm3", "UCUM", "Cubic centimeter")
CUBIC_CENTIMETER_PER_DAY = Code("cm3/d", "UCUM", "Cubic centimeter per day")
PERCENT = Code("%", "UCUM", "Percent")
HOUNSFIELD_UNIT = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
NO_UNITS = Code("1", "UCUM", "no units")

# Algorithm family: CID 7162
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
