"""`origin-sdk explain`."""

from origin_sdk._edge.explanation import Explanation
from origin_sdk._edge.explanation import explain as explained
from origin_sdk._values.header_fields import combined
from origin_sdk.cli.context import AsJson, ConfigFile, Context, Environment
from origin_sdk.cli.inspect import Url
from origin_sdk.cli.requests import Content, Method, RequestHeaders, content_of, fields_of
from origin_sdk.cli.screen import Screen

__all__ = ["explain"]


def explain(
    url: Url,
    method: Method = "GET",
    content: Content = None,
    request_headers: RequestHeaders = None,
    config: ConfigFile = None,
    environment: Environment = "",
    as_json: AsJson = False,
) -> None:
    """Show a URL's key, what shares it and what splits it, which rule applied and why.

    It follows from wrangler.toml alone: nobody is asked.

        origin-sdk explain 'https://api.example.com/products?utm_source=x&page=2'
    """
    context = Context(config, environment, as_json=as_json)
    explanation = explained(
        url,
        context.project,
        method,
        None if content is None else content_of(content),
        combined(tuple(fields_of(request_headers).items())),
    )
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
        ("passed", explanation.passed),
        ("purged", explanation.marks),
        ("revoked", tuple(f"by a purge of the group {each}" for each in explanation.revoked_by)),
        ("through", [f"the shield {explanation.shield}"] if explanation.shield else []),
        ("asks", explanation.origins),
        ("lies", [explanation.kept]),
        ("hooks", explanation.hooks),
        ("once", ["one request to the origin in the world"] if explanation.single_flight == "global" else []),
    ):
        for number, line in enumerate(lines):
            screen.print(f"{title if not number else '':8}{line}")
