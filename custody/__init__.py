"""What must never be lost: the spool of Part 10 files and the ledger of what happened to them."""
