"""Command line: `python -m examples.apis graphql --port 8000`."""

import argparse
import json
import shlex

import uvicorn

from examples.apis.catalog import APPS, variables_of


def main() -> None:
    """Serve an example, or print the Worker's variables for it."""
    parser = argparse.ArgumentParser(prog="python -m examples.apis", description="Serve an example.")
    parser.add_argument("name", choices=sorted(APPS))
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--vars", action="store_true", help="print the Worker's variables, for scripts/dev")
    options = parser.parse_args()
    if options.vars:
        variables = variables_of(options.name).items()
        print(" ".join(f"--var {shlex.quote(f'{name}:{_text(value)}')}" for name, value in variables))
    else:
        uvicorn.run(APPS[options.name], host="127.0.0.1", port=options.port)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main()
