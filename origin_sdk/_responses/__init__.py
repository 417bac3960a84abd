"""What the middleware of all frameworks has in common: what was read, and what follows for the response."""
