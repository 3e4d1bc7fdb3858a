"""Results in several encodings, and under a corrected identity.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("result_object", schema=None) as batch_op:
        for name in ("variant", "corrected"):
            batch_op.add_column(sa.Column(name, sa.String(length=64), server_default="", nullable=False))
    with op.batch_alter_table("result_object", schema=None) as batch_op:
        for name in ("variant", "corrected"):
            batch_op.alter_column(name, server_default=None)


def downgrade() -> None:
    """Revert."""
    with op.batch_alter_table("result_object", schema=None) as batch_op:
        batch_op.drop_column("corrected")
        batch_op.drop_column("variant")
