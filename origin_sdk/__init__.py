"""The origin's side of the edge cache: publish to it, purge from it, and share its wire format."""
