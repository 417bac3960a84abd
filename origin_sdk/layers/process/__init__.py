"""What this process knows: values in memory, invalidations heard of, loads under way, counts."""
