"""A Worker for the tests of what needs no runtime, in the runtime: each path calls one function."""

import json

import js
from vector_runner import run_vectors

import hooks
from origin_sdk_edge.claims import verified_claims
from origin_sdk_edge.hooks import Hooks, load_hooks
from origin_sdk_wire.config import ConfigError, load


async def on_fetch(request, env, ctx):
    """Return as JSON what the function of the path makes of the body."""
    body = await request.text()
    return js.Response.new(json.dumps(_FUNCTIONS[js.URL.new(request.url).pathname](body)))


def _problems(variables):
    try:
        load(json.loads(variables))
    except ConfigError as error:
        return error.problems
    return []


def _hooks(_):
    return load_hooks(hooks, print, None) == Hooks()


def _claims(arguments):
    return verified_claims(*json.loads(arguments))


_FUNCTIONS = {"/vectors": run_vectors, "/problems": _problems, "/hooks": _hooks, "/claims": _claims}
