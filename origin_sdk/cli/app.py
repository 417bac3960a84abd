"""The commands in one application."""

import sys
from collections.abc import Sequence

import typer

from origin_sdk.cli.context import EXIT_CODES, exit_code, report_error
from origin_sdk.cli.draining import drain, outbox
from origin_sdk.cli.looking import audit, doctor, explain, inspect
from origin_sdk.cli.purging import purge
from origin_sdk.cli.storing import publish, warm
from origin_sdk.errors import OriginSdkError

__all__ = ["app", "run"]

_HELP = """Purge, fill and look into the edge cache of your API.

Settings come from options, else from the environment: CLOUDFLARE_API_TOKEN (permission: Workers KV
Storage Write), CLOUDFLARE_ACCOUNT_ID, EDGE_CACHE_NAMESPACE_ID; CLOUDFLARE_API_BASE_URL for
`wrangler dev`; EDGE_CACHE_ACTOR and EDGE_CACHE_AUDIT_FILE for the audit.
"""
_EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."

app = typer.Typer(
    name="origin-sdk",
    help=_HELP,
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (purge, publish, warm, inspect, explain, doctor, audit, drain):
    app.command(epilog=_EPILOG)(command)
app.add_typer(outbox, name="outbox")


def run(arguments: Sequence[str]) -> None:
    """Run a command; errors of the SDK end it with their exit code and no traceback."""
    try:
        app(args=list(arguments), prog_name="origin-sdk")
    except OriginSdkError as error:
        report_error(error, as_json="--json" in arguments)
        sys.exit(exit_code(error))
