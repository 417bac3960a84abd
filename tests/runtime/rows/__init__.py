"""What HTTP asks of a cache, as tables: ``tests/runtime/test_http_*.py`` play them."""
