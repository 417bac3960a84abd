"""What belongs to the running process: clock, forks, audit file, and what is read of caches meanwhile."""
