"""Redis: how it is reached, what runs inside it, who listens to it, and what is known of it here."""
