"""Comparison with earlier scans of the patient: the section ``[comparison]``, and what sources say of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from config.section import Section

if TYPE_CHECKING:
    from config.settings import Settings


class PriorsRule(StrEnum):
    """Where earlier scans of a source's patients are looked for."""

    NONE = "none"
    HISTORY = "history"
    PACS = "pacs"


class RetrievalWay(StrEnum):
    """How earlier scans come from a PACS."""

    MOVE = "move"
    GET = "get"


class ComparisonSettings(Section):
    """With what a scan is compared, and for how long its result waits for that."""

    enabled: bool = True
    """Whether scans are compared at all."""
    priors_at_most: Annotated[int, Field(ge=1, le=50)] = 5
    """So many earlier scans, the newest, are retrieved from a PACS for one scan."""
    history_at_most: Annotated[int, Field(ge=1, le=1000)] = 50
    """So many earlier scans, the newest, that were analysed here are compared with."""
    wait_s: Annotated[float, Field(ge=0)] = 60.0
    """The analysis of a scan waits at most so long for earlier ones from a PACS."""
    query_within_s: Annotated[float, Field(gt=0, le=300)] = 20.0
    """For all queries about one patient."""
    retrieve_within_s: Annotated[float, Field(gt=0, le=600)] = 300.0
    """For the retrieval of one earlier scan."""
    least_change_ml: Annotated[float, Field(ge=0)] = 0.0
    """Smaller changes of a volume are no change, whatever the model can tell apart."""
    least_change_percent: Annotated[float, Field(ge=0)] = 0.0
    """The same as a part of the earlier volume."""
    least_new_lesion_ml: Annotated[float, Field(ge=0)] = 0.0
    """Smaller lesions are not called new, whatever the model finds."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """What changes the words about a change."""
        return {
            "least_change_ml": self.least_change_ml,
            "least_change_percent": self.least_change_percent,
            "least_new_lesion_ml": self.least_new_lesion_ml,
        }


def comparison_faults(settings: Settings) -> list[str]:
    """Return a line for every source whose earlier scans could not be looked for as it says."""
    faults = []
    known = ", ".join(f'"{peer.name}"' for peer in settings.dimse_peers) or "none is configured"
    names = {peer.name for peer in settings.dimse_peers}
    for at, source in enumerate(settings.sources):
        where = f"sources[{at}]"
        if source.priors is PriorsRule.PACS:
            if source.priors_from not in names:
                found = f'found "{source.priors_from}"' if source.priors_from else "missing"
                faults.append(
                    f"{where}.priors_from: {found}, wanted the DIMSE peer that has earlier scans ({known})"
                )
            continue
        if source.priors_from:
            faults.append(
                f'{where}.priors_from: found "{source.priors_from}", wanted it only with priors = "pacs"'
            )
        if source.report_priors:
            faults.append(f'{where}.report_priors: found true, wanted it only with priors = "pacs"')
    return faults
