"""What an operator sees of the cache: a page, a terminal, a Prometheus exporter."""
