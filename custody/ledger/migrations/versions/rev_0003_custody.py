"""Manifests instead of instances, lanes and triage, commitments, audit, switches, merged patients.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Columns are added in place: rebuilding a table would break the rows that refer to it."""
    op.add_column("series", sa.Column("flag", sa.Text()))
    op.add_column("series", sa.Column("promised_at", sa.Float()))
    op.create_index("ix_series_patient", "series", ["patient_digest"])
    op.create_index("ix_series_first_received", "series", ["first_received_at"])
    op.create_index("ix_series_source_settled", "series_source", ["settled"])
    op.add_column(
        "instance",
        sa.Column("node", sa.String(length=32), server_default=sa.text("''"), nullable=False),
    )
    op.add_column("job", sa.Column("lane", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("job", sa.Column("triage", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("job", sa.Column("results_package", sa.String(length=256)))
    op.add_column("job", sa.Column("results_purged_at", sa.Float()))
    op.add_column("job", sa.Column("results_gone_at", sa.Float()))
    op.drop_index("ix_job_queue", "job")
    op.create_index("ix_job_queue", "job", ["state", "lane", "due_at"])
    op.create_index("ix_job_sealed", "job", ["sealed_at"])
    op.create_index("ix_job_finished", "job", ["finished_at"])
    op.create_index("ix_job_results_age", "job", ["results_purged_at", "finished_at"])
    op.create_index("ix_job_results_unfinished", "job", ["results_gone_at", "results_purged_at"])
    op.add_column("result_object", sa.Column("series_instance_uid", sa.String(length=64)))
    op.add_column(
        "result_object",
        sa.Column("size_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.create_index("ix_delivery_delivered", "delivery", ["delivered_at"])
    _create_manifest()
    _create_commitment()
    _create_commitment_request()
    _create_commitment_transaction()
    _create_the_rest()


def _create_manifest() -> None:
    op.create_table(
        "manifest",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("series_id", sa.String(length=32), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("node", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("set_aside", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("written_at", sa.Float(), nullable=False),
        sa.Column("package_sha256", sa.String(length=64)),
        sa.Column("purged_at", sa.Float()),
        sa.Column("purged_because", sa.Text()),
        sa.Column("files_gone_at", sa.Float()),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_manifest_series_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manifest")),
    )
    op.create_index(op.f("ix_manifest_series_id"), "manifest", ["series_id"])
    op.create_index("ix_manifest_written", "manifest", ["written_at"])
    op.create_index("ix_manifest_age", "manifest", ["purged_at", "written_at"])
    op.create_index("ix_manifest_unfinished", "manifest", ["files_gone_at", "purged_at"])


def _create_commitment() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("delivery_id", sa.String(length=32), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64)),
        sa.Column("reason", sa.Text()),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(length=64)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("asked_at", sa.Float()),
        sa.Column("ended_at", sa.Float()),
        sa.Column("resent", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_commitment_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment")),
        sa.UniqueConstraint("delivery_id", name=op.f("uq_commitment_delivery_id")),
    )
    op.create_index(op.f("ix_commitment_transaction_uid"), "commitment", ["transaction_uid"])
    op.create_index("ix_commitment_queue", "commitment", ["state", "peer", "due_at"])
    op.create_index("ix_commitment_ended", "commitment", ["ended_at"])


def _create_commitment_request() -> None:
    op.create_table(
        "commitment_request",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("calling_ae_title", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("node", sa.String(length=32), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.JSON()),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("decided_at", sa.Float()),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(length=64)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float()),
        sa.Column("ended_at", sa.Float()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment_request")),
        sa.UniqueConstraint(
            "calling_ae_title",
            "transaction_uid",
            name=op.f("uq_commitment_request_calling_ae_title_transaction_uid"),
        ),
    )
    op.create_index("ix_commitment_request_queue", "commitment_request", ["state", "node", "due_at"])
    op.create_index("ix_commitment_request_ended", "commitment_request", ["ended_at"])


def _create_commitment_transaction() -> None:
    op.create_table(
        "commitment_transaction",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=32)),
        sa.Column("request_id", sa.String(length=32)),
        sa.Column("asked_at", sa.Float(), nullable=False),
        sa.Column("reported_at", sa.Float()),
        sa.Column("outcome", sa.JSON()),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_commitment_transaction_job_id")),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["commitment_request.id"],
            name=op.f("fk_commitment_transaction_request_id"),
        ),
        sa.PrimaryKeyConstraint("transaction_uid", name=op.f("pk_commitment_transaction")),
    )
    op.create_index(op.f("ix_commitment_transaction_request_id"), "commitment_transaction", ["request_id"])


def _create_the_rest() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"])
    op.create_table(
        "attempt",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float()),
        sa.Column("outcome", sa.String(length=16)),
        sa.Column("reason", sa.Text()),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_attempt_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempt")),
    )
    op.create_index(op.f("ix_attempt_job_id"), "attempt", ["job_id"])
    op.create_table(
        "switch",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_switch")),
    )
    op.create_table(
        "patient_merge",
        sa.Column("old_digest", sa.String(length=64), nullable=False),
        sa.Column("new_digest", sa.String(length=64), nullable=False),
        sa.Column("merged_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("old_digest", name=op.f("pk_patient_merge")),
    )
    op.create_index(op.f("ix_patient_merge_new_digest"), "patient_merge", ["new_digest"])


def downgrade() -> None:
    """Revert; only what the manifests do not hold can be kept, so there is no way back with sealed series."""
    for table in ("attempt", "patient_merge", "switch", "audit"):
        op.drop_table(table)
    for table in ("commitment_transaction", "commitment_request", "commitment", "manifest"):
        op.drop_table(table)
    op.drop_index("ix_delivery_delivered", "delivery")
    op.drop_column("result_object", "size_bytes")
    op.drop_column("result_object", "series_instance_uid")
    for name in (
        "ix_job_results_unfinished",
        "ix_job_results_age",
        "ix_job_finished",
        "ix_job_sealed",
        "ix_job_queue",
    ):
        op.drop_index(name, "job")
    op.create_index("ix_job_queue", "job", ["state", "due_at"])
    for name in ("results_gone_at", "results_purged_at", "results_package", "triage", "lane"):
        op.drop_column("job", name)
    op.drop_column("instance", "node")
    op.drop_index("ix_series_source_settled", "series_source")
    op.drop_index("ix_series_first_received", "series")
    op.drop_index("ix_series_patient", "series")
    op.drop_column("series", "promised_at")
    op.drop_column("series", "flag")
