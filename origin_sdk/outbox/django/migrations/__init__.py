"""Django's migrations of the outbox."""
