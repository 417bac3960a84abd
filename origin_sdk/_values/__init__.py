"""Values that clients, middleware, outbox and layers share: frozen, and checked where they are made."""
