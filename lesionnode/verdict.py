"""Why a series has a result, or has none: the first line of ``lesion-node trace``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from custody.ledger.states import DeliveryState, JobState
from lesionnode.status_page import moment


def verdict(story: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether all is as it should be, and why, in one sentence.

    Parameters
    ----------
    story
        `custody.ledger.story.story_of`.
    """
    jobs = story["jobs"]
    waiting = [one for one in story["images"] if one["generation"] is None and one.get("analysable")]
    if not jobs:
        return _not_sealed(story, waiting)
    good, said = _of_job(jobs[-1])
    if waiting:
        said += f" {waiting[0]['analysable']} more images came since and wait to be sealed, generation "
        said += f"{story['series']['generation'] + 1}."
    return good, said


def _not_sealed(story: Mapping[str, Any], waiting: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    if waiting:
        said = f"No result yet: {waiting[0]['analysable']} images so far, the series is not complete."
        if story["still_open"]:
            callers = ", ".join(sorted({one["calling_ae_title"] for one in story["still_open"]}))
            said += f" An association of {callers} is open, on which more may come."
        return True, said
    reasons = {
        reason: number for one in story["images"] for reason, number in one.get("set_aside", {}).items()
    }
    if reasons:
        told = "; ".join(f"{reason} ({number})" for reason, number in reasons.items())
        return False, f"No result: nothing of it can be analysed. Set aside: {told}."
    return False, "No result: no image of it is here."


def _of_job(job: Mapping[str, Any]) -> tuple[bool, str]:
    state, reason = job["state"], str(job["reason"] or "")
    if state == JobState.QUEUED:
        before = f" The last attempt ended with: {reason}." if reason else ""
        return (
            not reason,
            f"No result yet: it waits for the worker, attempt {job['attempt'] + 1} comes next.{before}",
        )
    if state == JobState.RUNNING:
        return True, f"No result yet: it is being analysed, attempt {job['attempt']}."
    if state == JobState.NOT_SELECTED:
        return True, f"No result, on purpose: it was not chosen. {_sentence(reason)}"
    if state == JobState.REFUSED:
        return False, f"No result: it cannot be analysed. {_sentence(reason)} {_told(job)}".rstrip()
    if state == JobState.FAILED:
        return False, f"No result: the analysis failed. {_sentence(reason)} {_told(job)}".rstrip()
    good, where = _delivered(job["deliveries"])
    burden = (job["result"] or {}).get("burden") or {}
    found = f": {burden['total_ml']:.1f} ml, {burden['percent_of_lung']:.1f} % of lung" if burden else ""
    return good, f"Analysed{found}. {where}"


def _told(job: Mapping[str, Any]) -> str:
    """Say whether the peers were told that there is no result."""
    return f"A page says so; {_delivered(job['deliveries'])[1]}" if job["deliveries"] else ""


def _delivered(deliveries: Sequence[Mapping[str, Any]]) -> tuple[bool, str]:
    if not deliveries:
        return False, "No peer is to get it: see send_to and objects in the configuration."
    good, parts = True, []
    for peer in dict.fromkeys(one["peer"] for one in deliveries):
        mine = [one for one in deliveries if one["peer"] == peer]
        states = {one["state"] for one in mine}
        if states <= {DeliveryState.DELIVERED.value, DeliveryState.SUPERSEDED.value}:
            parts.append(f"{peer}: {_done(mine)}")
            continue
        for state in (DeliveryState.FAILED, DeliveryState.DUE, DeliveryState.SENDING, DeliveryState.LEFT_OUT):
            those = [one for one in mine if one["state"] == state.value]
            if those:
                good = good and state in (DeliveryState.SENDING, DeliveryState.LEFT_OUT)
                parts.append(f"{peer}: {_WORDS[state].format(len(those), len(mine))}{_why(those)}")
                break
    return good, f"{'; '.join(parts)}."


def _done(deliveries: Sequence[Mapping[str, Any]]) -> str:
    times = [one["delivered_at"] for one in deliveries if one["delivered_at"]]
    return f"delivered {moment(max(times))}" if times else "a later result came before it was sent"


_WORDS = {
    DeliveryState.FAILED: "{} of {} objects given up",
    DeliveryState.DUE: "{} of {} objects not delivered yet",
    DeliveryState.SENDING: "{} of {} objects on their way",
    DeliveryState.LEFT_OUT: "{} of {} objects left out",
}


def _why(deliveries: Sequence[Mapping[str, Any]]) -> str:
    reasons = list(dict.fromkeys(str(one["reason"]) for one in deliveries if one["reason"]))
    return f" ({reasons[0].rstrip('.')})" if reasons else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""
