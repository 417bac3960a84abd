"""Laid beside the Worker's modules it tells how many milliseconds their import takes."""

import time
from typing import Any

from js import Response


def on_fetch(request: Any, env: Any, ctx: Any) -> Any:  # noqa: ARG001 - the runtime's call
    """Import the Worker, and answer with the milliseconds."""
    began = time.perf_counter()
    import entry  # noqa: F401, PLC0415 - it is what is measured

    return Response.new(str((time.perf_counter() - began) * 1000))
