"""Command line: `python -m examples.apis graphql --port 8000`."""

import argparse
import json
import shlex

import uvicorn

from examples.apis.catalog import APIS


def main() -> None:
    """Serve an example, print the Worker's variables for it, or measure what its traffic costs."""
    parser = argparse.ArgumentParser(prog="python -m examples.apis", description=__doc__)
    parser.add_argument("name", choices=sorted(APIS))
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--vars", action="store_true", help="print the Worker's variables, for scripts/dev")
    parser.add_argument("--measure", action="store_true", help="run its traffic through the Worker's policy")
    options = parser.parse_args()
    api = APIS[options.name]
    if options.vars:
        print(
            " ".join(
                f"--var {shlex.quote(f'{name}:{_text(value)}')}" for name, value in api.variables.items()
            )
        )
    elif options.measure:
        print(api.measure())
    else:
        uvicorn.run(api.app, host="127.0.0.1", port=options.port)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    main()
