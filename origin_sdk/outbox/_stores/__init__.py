"""What all stores of an outbox have in common: entries, statements, URLs."""
