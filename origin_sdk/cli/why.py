"""`origin-sdk why`."""

import time
from collections.abc import Mapping
from typing import Annotated

import httpx
import typer

from origin_sdk._cloudflare.connections import tls
from origin_sdk._edge.explanation import explain
from origin_sdk._edge.verdict import Asked, Given, Verdict, verdict_on
from origin_sdk._edge.warmup import checked_url
from origin_sdk._values.errors import ConnectionFailed, InvalidRequest
from origin_sdk.cli.context import AsJson, ConfigFile, Context, Environment
from origin_sdk.cli.requests import Method
from origin_sdk.cli.screen import Screen

__all__ = ["why"]

_AGENT = "origin-sdk why"
_MAX_SECONDS = 86400.0


def why(
    url: Annotated[str, typer.Argument(help="The URL to ask for, as a client would.")],
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help='A request field, such as "Accept: text/html".')
    ] = None,
    cookie: Annotated[list[str] | None, typer.Option("--cookie", help="A cookie, as name=value.")] = None,
    token: Annotated[str, typer.Option("--token", help="A bearer token for Authorization.")] = "",
    method: Method = "GET",
    secret: Annotated[
        str,
        typer.Option(
            "--debug-secret",
            help="The Worker's DEBUG_SECRET: it then shows the key, and where the time went.",
            envvar="EDGE_CACHE_DEBUG_SECRET",
            show_envvar=True,
        ),
    ] = "",
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, max=_MAX_SECONDS, help="The longest wait, in seconds.")
    ] = 30.0,
    config: ConfigFile = None,
    environment: Environment = "",
    as_json: AsJson = False,
) -> None:
    """Request a URL once, as a client would, and say what the cache did, why, and what to change.

    It needs no token of Cloudflare's, and sends one request.
    Redirects aren't followed.

        origin-sdk why https://api.example.com/products/17
        origin-sdk why https://api.example.com/me --cookie session=1 -H 'Accept: */*'
    """
    context = Context(config, environment, as_json=as_json)
    checked_url(url)
    fields = _fields(header or [], cookie or [], token)
    asked = Asked(method.upper(), url, fields, _rule(context, url, method))
    given = _ask(asked, {**fields, "cache-debug": secret} if secret else fields, timeout)
    verdict = verdict_on(asked, given)
    shown = {**verdict.as_json(), "status": given.status, "fields": dict(given.fields)}
    context.show(shown, lambda screen: _draw(screen, verdict, given))


def _fields(headers: list[str], cookies: list[str], token: str) -> dict[str, str]:
    fields = {"user-agent": _AGENT, "accept": "*/*"}
    for line in headers:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise InvalidRequest(f"--header {line!r}: write a name, a colon and a value")
        fields[name.strip().lower()] = value.strip()
    for pair in cookies:
        if "=" not in pair:
            raise InvalidRequest(f"--cookie {pair!r}: write a name, an equals sign and a value")
    if cookies:
        fields["cookie"] = "; ".join([*filter(None, [fields.get("cookie", "")]), *cookies])
    if token:
        fields["authorization"] = f"Bearer {token}"
    return fields


def _rule(context: Context, url: str, method: str) -> str:
    """Return the rule that applies by wrangler.toml, if there is one here."""
    return explain(url, context.project, method.upper()).rule or ""


def _ask(asked: Asked, fields: Mapping[str, str], timeout: float) -> Given:
    began = time.perf_counter()
    try:
        with httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False, verify=tls()) as client:
            response = client.request(asked.method, asked.url, headers=dict(fields))
    except httpx.InvalidURL as error:
        raise InvalidRequest(f"{asked.url!r}: {error}") from error
    except (httpx.HTTPError, UnicodeEncodeError) as error:
        raise ConnectionFailed(f"{asked.url} gave no answer: {str(error) or type(error).__name__}") from error
    shown = {name: response.headers[name] for name in response.headers}
    if cookies := response.headers.get_list("set-cookie"):
        shown["set-cookie"] = "\n".join(cookies)
    size = response.num_bytes_downloaded
    return Given(response.status_code, shown, size, time.perf_counter() - began)


def _draw(screen: Screen, verdict: Verdict, given: Given) -> None:
    style = "green" if verdict.is_hit else "yellow" if given.status < 500 else "red"
    for number, sentence in enumerate(verdict.what):
        screen.print(sentence, style="bold" if not number else style if number == 1 else "")
    screen.print(f"Why: {verdict.why}")
    for sentence in verdict.evidence:
        screen.print(f"  {sentence}")
    if timing := given.fields.get("server-timing"):
        screen.print(f"  Server-Timing: {timing}", style="dim")
    screen.print(f"What to do: {verdict.remedy}")
    for title, text in (
        ("In the API", verdict.api),
        ("In a rule", verdict.rule),
        ("In the Worker's settings", verdict.setting),
    ):
        if text:
            screen.print(f"{title}:", style="bold")
            for line in text.splitlines():
                screen.print(f"  {line}")
