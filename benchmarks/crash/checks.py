"""What must hold after any number of kills, and what is only counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.crash.evidence import Evidence, data_set_digest
from benchmarks.crash.pacs import OBJECTS_OF_A_RESULT, Arrival
from benchmarks.crash.series import SentSeries

_FINAL = {"analysed", "refused", "not_selected", "failed"}
_ANALYSED, _DELIVERED, _SUPERSEDED = "analysed", "delivered", "superseded"


@dataclass(frozen=True)
class Campaign:
    """What happened outside the node.

    Parameters
    ----------
    series
        Everything that the scanners began.
    acknowledged
        (SOP Instance UID, digest) of what was answered with 0x0000.
    arrivals
        At the PACS.
    events
        The node's log.
    evidence
        What is left in spool and ledger.
    """

    series: Sequence[SentSeries]
    acknowledged: frozenset[tuple[str, str]]
    arrivals: Sequence[Arrival]
    events: Sequence[dict[str, Any]]
    evidence: Evidence

    @property
    def accepted(self) -> Counter[str]:
        """How often each object was accepted by the PACS."""
        return Counter(one.sop_instance_uid for one in self.arrivals if one.status == 0x0000)


def broken_promises(campaign: Campaign) -> dict[str, list[str]]:
    """Return for each invariant in what way it is broken; empty lists where it holds."""
    evidence = campaign.evidence
    return {
        "acknowledged_lost": sorted(_lost(campaign)),
        "files_damaged": [*evidence.damaged, *(f"{part} was left behind" for part in evidence.parts)],
        "results_lost": [*_series_without_result(campaign), *_undelivered(campaign)],
        "not_committed": sorted(_not_committed(campaign)),
        "results_unknown": sorted(_unknown_objects(campaign)),
        "uids_with_two_contents": sorted(_ambiguous(campaign)),
        "analysed_again_after_recording": sorted(_analysed_again(campaign)),
    }


def counted(campaign: Campaign) -> dict[str, dict[str, int]]:
    """Return what a crash may cost: repeated sends, repeated analyses, further generations."""
    accepted = campaign.accepted
    log = Counter(event["event"] for event in campaign.events)
    jobs = campaign.evidence.jobs
    started = Counter(event["job"] for event in campaign.events if event["event"] == "analysis_started")
    return {
        "series": {
            "sent": len(campaign.series),
            "generations": len(jobs),
            **{f"jobs {state}": n for state, n in sorted(Counter(job["state"] for job in jobs).items())},
        },
        "results": {
            "objects": len(accepted),
            "arrivals": len(campaign.arrivals),
            "repeated_sends": sum(accepted.values()) - len(accepted),
            "refused_by_pacs": sum(one.status != 0x0000 for one in campaign.arrivals),
        },
        "analyses": {
            "started": log["analysis_started"],
            "ended": log["analysis_ended"],
            "repeated_before_recording": sum(started.values()) - len(started),
            "most_attempts": max((job["attempt"] for job in jobs), default=0),
            "claims_lost": log["analysis_claim_lost"],
        },
        "cut_off": _cut_off(campaign.events),
    }


def _cut_off(events: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return what the starts after the kills found unfinished, as the node says."""
    recovered = [event for event in events if event["event"] == "recovered"]
    keys = ("associations_lost", "jobs_released", "deliveries_released", "part_files_deleted")
    counts = {key: sum(int(event.get(key, 0)) for event in recovered) for key in (*keys, "files_unrecorded")}
    died = [event for event in events if event["event"] == "worker_died"]
    counts["jobs_released"] += sum(int(event.get("jobs_released", 0)) for event in died)
    return counts


def _lost(campaign: Campaign) -> Iterator[str]:
    for uid, digest in campaign.acknowledged - campaign.evidence.in_spool:
        yield f"{uid} ({digest[:12]}) was acknowledged and is not in the spool"
    for uid, digest in campaign.acknowledged - campaign.evidence.in_ledger:
        yield f"{uid} ({digest[:12]}) was acknowledged and the ledger does not know it"


def _series_without_result(campaign: Campaign) -> Iterator[str]:
    """Every series as a whole has to have ended in a result."""
    evidence = campaign.evidence
    rows = {row["series_instance_uid"]: row for row in evidence.series}
    newest = {job["series_id"]: job for job in sorted(evidence.jobs, key=lambda one: int(one["generation"]))}
    for one in campaign.series:
        row = rows.get(one.series_instance_uid)
        job = newest.get(row["id"]) if row is not None else None
        if row is None or job is None:
            yield f"series {one.number} was not sealed"
            continue
        whole = {(image.sop_instance_uid, image.sha256) for image in one.images}
        if not whole <= evidence.sealed.get(row["id"], set()):
            yield f"series {one.number} was not sealed as a whole"
        if job["state"] != _ANALYSED:
            yield f"series {one.number}: its newest job {job['id']} is {job['state']} ({job['reason']})"
            continue
        owed = sum(delivery["job_id"] == job["id"] for delivery in evidence.deliveries)
        if owed < OBJECTS_OF_A_RESULT:
            yield f"series {one.number}: only {owed} objects of job {job['id']} are to be delivered"


def _undelivered(campaign: Campaign) -> Iterator[str]:
    """Every job has to have ended, and every delivery that the ledger calls done has to be at the PACS."""
    evidence, accepted = campaign.evidence, campaign.accepted
    for job in evidence.jobs:
        if job["state"] not in _FINAL:
            yield f"job {job['id']} is {job['state']} ({job['reason']})"
    newest = {row["id"]: row["generation"] for row in evidence.series}
    jobs = {job["id"]: job for job in evidence.jobs}
    for delivery in evidence.deliveries:
        job, stored = jobs[delivery["job_id"]], evidence.objects[delivery["result_object_id"]]
        outdated = job["generation"] < newest.get(job["series_id"], 0)
        if delivery["state"] == _DELIVERED:
            if not accepted[stored["sop_instance_uid"]]:
                yield f"{stored['kind']} of job {job['id']} is called delivered and is not at the PACS"
        elif not (delivery["state"] == _SUPERSEDED and outdated):
            yield f"{stored['kind']} of job {job['id']} is {delivery['state']} ({delivery['reason']})"


def _not_committed(campaign: Campaign) -> Iterator[str]:
    """Yield what was delivered to the PACS and is not committed by it: each is asked for until it is."""
    committed = {one["delivery_id"] for one in campaign.evidence.commitments if one["state"] == "committed"}
    for delivery in campaign.evidence.deliveries:
        if delivery["state"] == _DELIVERED and delivery["id"] not in committed:
            yield f"delivery {delivery['id']}"


def _unknown_objects(campaign: Campaign) -> Iterator[str]:
    known = {stored["sop_instance_uid"] for stored in campaign.evidence.objects.values()}
    for uid in campaign.accepted.keys() - known:
        yield f"{uid} is at the PACS and the ledger does not know it"


def _ambiguous(campaign: Campaign) -> Iterator[str]:
    """One SOP Instance UID, one content: at the PACS, over all arrivals, and in the spool."""
    contents: defaultdict[str, set[str]] = defaultdict(set)
    for arrival in campaign.arrivals:
        contents[arrival.sop_instance_uid].add(arrival.sha256)
    for stored in campaign.evidence.objects.values():
        path = Path(stored["path"])
        contents[stored["sop_instance_uid"]].add(data_set_digest(path) if path.exists() else "gone")
    for uid, digests in contents.items():
        if len(digests) > 1:
            yield f"{uid} has {len(digests)} contents: {', '.join(sorted(one[:12] for one in digests))}"


def _analysed_again(campaign: Campaign) -> Iterator[str]:
    """No analysis begins once the end of its job is recorded, and none is recorded twice."""
    ends = {job["id"]: job["finished_at"] for job in campaign.evidence.jobs}
    for event in campaign.events:
        if event["event"] == "analysis_started":
            end, begun = ends.get(event["job"]), datetime.fromisoformat(event["timestamp"]).timestamp()
            if end is not None and begun > end:
                late = f"{begun - end:.3f} s after its end"
                yield f"job {event['job']}: attempt {event['attempt']} began {late}"
    recorded = Counter(event["job"] for event in campaign.events if event["event"] == "analysis_ended")
    yield from (f"job {job} was recorded {times} times" for job, times in recorded.items() if times > 1)
