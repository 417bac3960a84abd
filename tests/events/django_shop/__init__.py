"""The application of tests/events/django_world.py."""
