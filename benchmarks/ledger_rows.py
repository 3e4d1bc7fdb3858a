"""Rows of a ledger that has seen many years."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, Table

from custody.ledger import Ledger
from custody.ledger.tables import (
    acquisition,
    association,
    delivery,
    job,
    manifest,
    result_object,
    series,
    series_source,
)

KINDS = ("segmentation", "measurement_report", "film")
_DAY_S = 86_400.0
_BATCH = 2_000


def fill(ledger: Ledger, count: int) -> None:
    """Enter so many series that went the whole way, in the order of the last two years."""
    newest = time.time() - 2 * _DAY_S
    for first in range(0, count, _BATCH):
        with ledger.write() as connection:
            _enter(connection, first, min(_BATCH, count - first), count, newest)
    if ledger.shared:  # PostgreSQL does so by itself after a while; SQLite never does, nor does the node
        with ledger.write() as connection:
            connection.exec_driver_sql("ANALYZE")


def _enter(connection: Connection, first: int, number: int, count: int, newest: float) -> None:
    rows: dict[Table, list[dict[str, Any]]] = {
        one: []
        for one in (
            association,
            acquisition,
            series,
            series_source,
            manifest,
            job,
            result_object,
            delivery,
        )
    }
    for at in range(first, first + number):
        _enter_one(rows, at, newest - (count - at) / count * 730 * _DAY_S)
    for into, values in rows.items():
        connection.execute(into.insert(), values)


def _enter_one(rows: dict[Table, list[dict[str, Any]]], at: int, when: float) -> None:
    own, study, patient = f"s{at:08d}", f"2.25.9{at // 2}", f"{at // 3:064d}"
    rows[association] += [
        {
            "id": f"a{at:08d}-{which}",
            "process": "node",
            "calling_ae_title": "CT1",
            "source": "scanner",
            "address": "192.0.2.21",
            "opened_at": when,
            "heartbeat_at": when,
            "closed_at": when,
            "ended": "released",
        }
        for which in range(2)
    ]
    rows[acquisition].append(
        {
            "id": own,
            "study_instance_uid": study,
            "patient_digest": patient,
            "frame_of_reference_uid": study,
            "acquisition_number": "1",
        }
    )
    rows[series].append(
        {
            "id": own,
            "study_instance_uid": study,
            "series_instance_uid": f"2.26.9{at}",
            "patient_digest": patient,
            "modality": "CT",
            "first_received_at": when,
            "last_received_at": when,
            "generation": 1,
        }
    )
    rows[series_source].append(
        {"series_id": own, "source": "scanner", "calling_ae_title": "CT1", "settled": 1}
    )
    rows[manifest].append(
        {
            "id": own,
            "series_id": own,
            "generation": 1,
            "node": "",
            "path": f"received/{own}/manifest-1-0.json",
            "sha256": "0" * 64,
            "instances": 300,
            "set_aside": 1,
            "size_bytes": 150_000_000,
            "written_at": when,
        }
    )
    rows[job].append(
        {
            "id": own,
            "series_id": own,
            "acquisition_id": own,
            "generation": 1,
            "calling_ae_title": "CT1",
            "state": "not_selected" if at % 3 == 2 else "analysed",
            "evidence": "300 images; 3.0 s without another one; no open association of CT1",
            "model": "densitometry",
            "sealed_at": when,
            "due_at": when,
            "attempt": 1,
            "finished_at": when,
            "result": {"burden": {"total_ml": 1.0, "percent_of_lung": 1.0}, "severity_score": 1},
        }
    )
    for position, kind in enumerate(KINDS):
        rows[result_object].append(
            {
                "id": f"{own}-{position}",
                "job_id": own,
                "position": position,
                "kind": kind,
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.66.4",
                "sop_instance_uid": f"2.25.8{at}{position}",
                "path": f"results/{own}/{kind}.dcm",
                "sha256": "0" * 64,
                "written_at": when,
            }
        )
        rows[delivery].append(
            {
                "id": f"{own}-{position}",
                "result_object_id": f"{own}-{position}",
                "job_id": own,
                "peer": "pacs",
                "state": "delivered",
                "status": 0,
                "due_at": when,
                "attempt": 1,
                "created_at": when,
                "delivered_at": when,
            }
        )
