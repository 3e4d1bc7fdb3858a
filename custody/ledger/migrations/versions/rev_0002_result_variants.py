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
    """Apply. Columns are added in place: rebuilding the table would break the rows that refer to it."""
    for name in ("variant", "corrected"):
        op.add_column(
            "result_object",
            sa.Column(name, sa.String(length=64), server_default=sa.text("''"), nullable=False),
        )


def downgrade() -> None:
    """Revert."""
    for name in ("corrected", "variant"):
        op.drop_column("result_object", name)
