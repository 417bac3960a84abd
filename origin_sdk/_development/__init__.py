"""What runs a Worker on this machine: programs, and what they print."""
