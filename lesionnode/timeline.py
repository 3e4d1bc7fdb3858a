"""The story of a series as a list of events in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from core.domain import ResultKind
from custody.ledger.states import DeliveryState, JobState


class Event(NamedTuple):
    """Something that happened, or is going to; seconds since 1970 UTC."""

    at: float
    what: str


def timeline(story: Mapping[str, Any]) -> list[Event]:
    """Return what happened to a series.

    Parameters
    ----------
    story
        `custody.ledger.story.story_of`.
    """
    events = [*_received(story), *_listed(story)]
    for job in story["jobs"]:
        events += [*_sealed(job), *_searched(job), *_attempts(job), *_deliveries(job), *_purged(job)]
    for one in story["incidents"]:
        times = f", {one['count']} times" if one["count"] > 1 else ""
        events.append(Event(one["last_at"], f"{_words(one['kind'])}{times}: {one['reason']}"))
    for one in story["audit"]:
        detail = "; ".join(filter(None, (_detail(*item) for item in one["detail"].items())))
        events.append(
            Event(one["at"], f"{one['actor']}: {_words(one['action'])}{f' ({detail})' if detail else ''}")
        )
    return sorted(events, key=lambda event: event.at)


def _received(story: Mapping[str, Any]) -> Iterator[Event]:
    for one in story["images"]:
        if not one["count"]:
            continue
        senders = ", ".join(one["senders"])
        moved = f", moved by {', '.join(one['moved_by'])}" if one["moved_by"] else ""
        yield Event(one["first_at"], f"first image from {senders}{moved}")
        aside = "; ".join(f"{number} set aside: {why}" for why, number in one["set_aside"].items())
        size = f"{one['size_bytes'] / 2**20:.1f} MiB"
        yield Event(one["last_at"], f"last of {one['count']} images, {size}{f'; {aside}' if aside else ''}")


def _listed(story: Mapping[str, Any]) -> Iterator[Event]:
    for one in story["manifests"]:
        yield Event(one["written_at"], f"{one['instances']} images listed in manifest {one['sha256'][:12]}")
        if one["purged_at"]:
            yield Event(one["purged_at"], f"images deleted: {one['purged_because'] or 'no reason was noted'}")


def _sealed(job: Mapping[str, Any]) -> Iterator[Event]:
    yield Event(job["sealed_at"], f"sealed as generation {job['generation']}: {job['evidence']}")
    if job["state"] == JobState.NOT_SELECTED:
        yield Event(job["sealed_at"], f"not chosen: {job['reason']}")
    else:
        lane = {0: ", urgent", 2: ", low priority"}.get(job["lane"], "")
        yield Event(job["sealed_at"], f"chosen for {job['model']}{lane}")


def _searched(job: Mapping[str, Any]) -> Iterator[Event]:
    search = job["prior_search"]
    if search is None:
        return
    peer = search["peer"]
    yield Event(
        search["created_at"], f"{peer} is to be asked for earlier scans; waits up to {search['wait_s']:g} s"
    )
    if search["listed_at"]:
        yield Event(
            search["listed_at"], f"{peer} listed earlier scans: {len(search['series'])} to compare with"
        )
    for one in search["series"]:
        if one["ended_at"]:
            why = f": {one['reason']}" if one["reason"] else ""
            yield Event(one["ended_at"], f"earlier scan from {peer}: {_words(one['state'])}{why}")
    if search["ended_at"]:
        notes = " ".join(search["notes"])
        yield Event(
            search["ended_at"],
            f"search for earlier scans {_words(search['state'])}{f': {notes}' if notes else ''}",
        )


def _attempts(job: Mapping[str, Any]) -> Iterator[Event]:
    ended = _ended(job)
    for one in job["attempts"]:
        yield Event(one["started_at"], f"attempt {one['attempt']} begins")
        if one["ended_at"]:
            seconds = one["ended_at"] - one["started_at"]
            last = one["outcome"] == job["state"] and one is job["attempts"][-1]
            why = f": {one['reason']}" if one["reason"] and not last else ""
            outcome = ended if last else f"{_OUTCOMES.get(one['outcome'], _words(one['outcome']))}{why}"
            yield Event(one["ended_at"], f"{outcome} (attempt {one['attempt']}, {seconds:.1f} s)")
    if not job["attempts"]:  # an earlier version kept none
        if job["started_at"]:
            yield Event(job["started_at"], f"attempt {job['attempt']} begins")
        if job["finished_at"] and job["state"] != JobState.NOT_SELECTED:
            yield Event(job["finished_at"], ended)
    if job["state"] == JobState.QUEUED:
        yield Event(job["due_at"], "due for analysis")


_OUTCOMES = {"again": "broke, to be tried again", "broke_off": "broke off", "stopped": "stopped on purpose"}


def _ended(job: Mapping[str, Any]) -> str:
    result = job["result"] or {}
    if job["state"] != JobState.ANALYSED:
        return f"{_words(job['state'])}: {job['reason']}"
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in (result.get("timings_s") or {}).items())
    burden = result.get("burden") or {}
    found = (
        f": {burden['total_ml']:.1f} ml, {burden['percent_of_lung']:.1f} % of lung, score "
        f"{result.get('severity_score')}, {result.get('provider')}"
        if "total_ml" in burden
        else ""
    )
    compared = result.get("comparison") or {}
    if compared:
        day = (compared["prior"]["scanned_at"] or "")[:10]
        which = f"the scan of {day}" if day else "an earlier scan without a date"
        found += f"; compared with {which}: {_words(compared['course'])}"
    return f"analysed{found}{f'; s: {steps}' if steps else ''}"


def _deliveries(job: Mapping[str, Any]) -> Iterator[Event]:
    groups: dict[tuple[str, str, float, str, int], list[str]] = {}
    for one in job["deliveries"]:
        at = one["delivered_at"] or one["due_at"]
        key = (one["peer"], one["state"], at, one["reason"] or "", one["attempt"])
        groups.setdefault(key, []).append(kind_name(one["kind"]))
    for (peer, state, at, reason, attempt), kinds in groups.items():
        why = f": {reason}" if reason else ""
        what = f"{', '.join(kinds)} {_DELIVERED[state].format(peer=peer, attempt=attempt)}{why}"
        yield Event(at, what)
    yield from _commitments(job)


_DELIVERED = {
    DeliveryState.DUE.value: "due to {peer}; attempts so far: {attempt}",
    DeliveryState.SENDING.value: "on its way to {peer}, attempt {attempt}",
    DeliveryState.DELIVERED.value: "delivered to {peer}, attempt {attempt}",
    DeliveryState.LEFT_OUT.value: "left out for {peer}",
    DeliveryState.SUPERSEDED.value: "not sent to {peer} any more",
    DeliveryState.FAILED.value: "given up for {peer}; attempts: {attempt}",
}


def _commitments(job: Mapping[str, Any]) -> Iterator[Event]:
    for sent in job["deliveries"]:
        one, kind = sent["commitment"], kind_name(sent["kind"])
        if one is None:
            continue
        if one["asked_at"]:
            yield Event(one["asked_at"], f"{one['peer']} asked to commit to {kind}")
        if one["ended_at"]:
            why = f": {one['reason']}" if one["reason"] else ""
            yield Event(one["ended_at"], f"commitment of {one['peer']} to {kind}: {one['state']}{why}")


def _purged(job: Mapping[str, Any]) -> Iterator[Event]:
    if job["results_purged_at"]:
        yield Event(job["results_purged_at"], f"result objects of generation {job['generation']} deleted")


def kind_name(kind: str) -> str:
    """Return what people call a kind of object."""
    names = {
        ResultKind.MEASUREMENT_REPORT.value: "report",
        ResultKind.KEY_OBJECTS.value: "key objects",
        ResultKind.REJECTION_NOTE.value: "rejection note",
    }
    return names.get(kind, kind)


def _detail(name: str, value: Any) -> str:
    """Return a detail of an audited act in words; empty where it says nothing."""
    if value in (None, "", [], {}, False):
        return ""
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {one}" for key, one in value.items())
    if isinstance(value, list):
        value = ", ".join(str(one) for one in value)
    return str(value) if name == "done" else f"{_words(name)} {value}"


def _words(name: str) -> str:
    return name.replace("_", " ")
