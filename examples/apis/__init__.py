"""Five small APIs behind the edge cache: each an application, the Worker's settings, and its traffic."""
