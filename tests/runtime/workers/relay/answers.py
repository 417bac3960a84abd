"""A module beside the main one, so that the harness is seen to load both."""

import js


def text(body):
    """Return a response with that body."""
    return js.Response.new(body)
