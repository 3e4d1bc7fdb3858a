"""The ledger: what arrived, what was decided about it, what was made of it and where that went.

It is also the queue: jobs and deliveries are rows with a state, an owner, an attempt number, a lease and a
due time (docs/adr/0003). Modules: `engine` (connection and migrations), `tables` (schema), `reception`
(associations and instances), `completion` (what is open, sealing), `jobs`, `deliveries`, `incidents`,
`services`, `report` (what ``status`` shows).
"""

from custody.ledger.engine import Ledger, new_id

__all__ = ["Ledger", "new_id"]
