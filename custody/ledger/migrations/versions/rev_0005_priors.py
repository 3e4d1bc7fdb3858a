"""Earlier scans that are searched for in a PACS, and jobs that are there for comparison only.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "job",
        sa.Column("purpose", sa.String(length=16), server_default=sa.text("'report'"), nullable=False),
    )
    op.create_table(
        "prior_search",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("wait_s", sa.Float(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("listed_at", sa.Float()),
        sa.Column("owner", sa.String(length=64)),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.Float()),
        sa.Column("ended_at", sa.Float()),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_prior_search_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prior_search")),
        sa.UniqueConstraint("job_id", name=op.f("uq_prior_search_job_id")),
    )
    op.create_index("ix_prior_search_queue", "prior_search", ["state", "peer", "due_at"])
    op.create_table(
        "prior_series",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("search_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("message_id", sa.Integer()),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("asked_at", sa.Float()),
        sa.Column("ended_at", sa.Float()),
        sa.ForeignKeyConstraint(["search_id"], ["prior_search.id"], name=op.f("fk_prior_series_search_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prior_series")),
    )
    op.create_index(op.f("ix_prior_series_search_id"), "prior_series", ["search_id"])
    op.create_index("ix_prior_series_uid", "prior_series", ["series_instance_uid"])


def downgrade() -> None:
    """Revert."""
    op.drop_table("prior_series")
    op.drop_table("prior_search")
    op.drop_column("job", "purpose")
