"""The purge log: the ledger of the one place that numbers entries, the reader of each isolate, the route."""
