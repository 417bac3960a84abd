"""From what is recorded to what is delivered: claim, coalesce, send, settle."""
