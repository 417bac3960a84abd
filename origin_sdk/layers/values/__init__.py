"""What a value is: its family and key, its form in Redis, its lifetimes."""
