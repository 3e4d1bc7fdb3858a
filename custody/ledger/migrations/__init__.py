"""Alembic migrations of the ledger; `custody.ledger.engine.Ledger.migrate` runs them."""
