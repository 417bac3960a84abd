"""`origin-sdk explain`."""

from typing import Annotated

import typer

from origin_sdk._edge.explanation import Explanation
from origin_sdk._edge.explanation import explain as explained
from origin_sdk.cli.context import AsJson, ConfigFile, Context, Environment
from origin_sdk.cli.inspect import Url
from origin_sdk.cli.screen import Screen

__all__ = ["explain"]


def explain(
    url: Url,
    method: Annotated[str, typer.Option("--method", help="The request's method.")] = "GET",
    config: ConfigFile = None,
    environment: Environment = "",
    as_json: AsJson = False,
) -> None:
    """Show a URL's key, what shares it and what splits it, which rule applied and why.

    It follows from wrangler.toml alone: nobody is asked.

        origin-sdk explain 'https://api.example.com/products?utm_source=x&page=2'
    """
    context = Context(config, environment, as_json=as_json)
    explanation = explained(url, context.project, method)
    context.show(explanation.as_json(), lambda screen: _draw(screen, explanation))


def _draw(screen: Screen, explanation: Explanation) -> None:
    screen.print(f"key     {explanation.key or 'none: nothing is stored'}", style="bold")
    screen.print(f"rule    {explanation.rule or 'none applies: the defaults do'}")
    for verdict in explanation.verdicts:
        screen.print(f"        {'→' if verdict.applies else ' '} {verdict.name}: {verdict.why}")
    for title, lines in (
        ("read as", explanation.readings),
        ("merged", explanation.merged),
        ("split", explanation.split_by),
        ("purged", explanation.marks),
    ):
        for number, line in enumerate(lines):
            screen.print(f"{title if not number else '':8}{line}")
