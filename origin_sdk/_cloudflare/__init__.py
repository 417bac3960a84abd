"""Cloudflare's API: Workers KV over REST, its rate limit, its clock, and the connections to it."""
