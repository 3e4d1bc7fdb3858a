"""What later scans of a patient are compared with.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "time_point",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("patient_digest", sa.String(length=64), nullable=False),
        sa.Column("person_digest", sa.String(length=64), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("scanned_at", sa.String(length=32)),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("written_at", sa.Float(), nullable=False),
        sa.Column("package", sa.String(length=256)),
        sa.Column("purged_at", sa.Float()),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_time_point_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_time_point")),
        sa.UniqueConstraint("job_id", name=op.f("uq_time_point_job_id")),
    )
    op.create_index(op.f("ix_time_point_patient_digest"), "time_point", ["patient_digest"])
    op.create_index(op.f("ix_time_point_digest"), "time_point", ["digest"])
    op.create_index("ix_time_point_age", "time_point", ["purged_at", "written_at"])


def downgrade() -> None:
    """Revert."""
    op.drop_table("time_point")
