"""Earlier scans that a PACS lists and that lie here already: analysed, or kept without that."""

from __future__ import annotations

from sqlalchemy import Connection, select

from core.errors import NodeError
from custody.ledger import merges
from custody.ledger.again import Order, analyse_again
from custody.ledger.completion import IS_OPEN, add_source, leave_out_senders
from custody.ledger.prior_claims import ClaimedSearch
from custody.ledger.prior_waits import BY_PRIORS, priors_of
from custody.ledger.states import JobPurpose, JobState
from custody.ledger.tables import instance, job, prior_search, series


def is_known(connection: Connection, claimed: ClaimedSearch, study_uid: str) -> bool:
    """Tell whether a study of the patient was analysed here, or is about to be."""
    useless = [one.value for one in (JobState.REFUSED, JobState.FAILED, JobState.NOT_SELECTED)]
    found = (
        select(job.c.id)
        .join_from(job, series)
        .where(
            series.c.study_instance_uid == study_uid,
            series.c.patient_digest.in_(merges.same_patient(connection, claimed.patient_digest)),
            job.c.state.not_in(useless),
        )
    )
    return connection.execute(found.limit(1)).first() is not None


def analysed_now(
    connection: Connection, claimed: ClaimedSearch, study_uid: str, series_uid: str, now: float
) -> bool:
    """Queue a series for comparison that lies here unanalysed, and that no rule chose for a report.

    Returns
    -------
    bool
        False where there is none, or its images were deleted.
    """
    newest = (
        select(job.c.series_id, job.c.state, job.c.calling_ae_title)
        .join_from(job, series)
        .where(
            series.c.study_instance_uid == study_uid,
            series.c.series_instance_uid == series_uid,
            series.c.patient_digest.in_(merges.same_patient(connection, claimed.patient_digest)),
        )
        .order_by(job.c.sealed_at.desc(), job.c.generation.desc())
        .limit(1)
    )
    lies_here = connection.execute(newest).one_or_none()
    if lies_here is None or lies_here.state != JobState.NOT_SELECTED.value:
        return False
    coming_in = select(instance.c.id).where(instance.c.series_id == lies_here.series_id, IS_OPEN)
    if connection.execute(coming_in.limit(1)).first() is not None:
        return False  # it is sealed for comparison once it is complete
    search = connection.execute(
        select(prior_search.c.source, job.c.model, job.c.lane)
        .join_from(prior_search, job)
        .where(prior_search.c.id == claimed.id)
    ).one()
    like = {"model": search.model, "lane": search.lane, "purpose": JobPurpose.PRIOR.value}
    try:
        analyse_again(
            connection, lies_here.series_id, "compared with a later scan", Order(BY_PRIORS, now), like
        )
    except NodeError:  # its images were deleted: the PACS still has them
        return False
    leave_out_senders(connection, lies_here.series_id)
    add_source(connection, lies_here.series_id, priors_of(search.source), lies_here.calling_ae_title)
    return True
