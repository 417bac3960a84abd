"""`origin-sdk keys`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer

from origin_sdk._values.api_keys import (
    ApiKeysReceipt,
    NewApiKey,
    StoredApiKey,
    has_claims,
    new_key_of,
    parse_moment,
    shown_claim,
)
from origin_sdk._values.errors import InvalidRequest
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.cli.lines import Lines
from origin_sdk.cli.screen import Screen, counted

__all__ = ["keys"]

keys = typer.Typer(
    name="keys",
    help="API keys in KV (API_KEYS_IN_KV): whose each is. They are known by their digests.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
)

Claims = Annotated[
    list[str] | None,
    typer.Option("--claim", help="What is said of the owner: NAME=VALUE, such as tenant=acme. Repeatable."),
]
KeyFile = Annotated[
    str | None,
    typer.Option("--key-file", help="A file with a key in each line; - for standard input."),
]
Why = Annotated[str, typer.Option("--why", help="Why, for the audit.")]
_SHOWN_DIGITS = 12


@keys.command()
def add(
    claims: Claims = None,
    begins: Annotated[str, typer.Option("--begins", help="From when it is valid: a day or a moment.")] = "",
    ends: Annotated[str, typer.Option("--ends", help="Until when: a day or a moment, UTC.")] = "",
    key_file: KeyFile = None,
    why: Why = "",
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, print it this once, and add it; or add those of a file, for one owner.

    origin-sdk keys add --claim tenant=acme --claim plan=gold --ends 2027-06-30
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    owner = _claims(claims)
    begin, end = (
        parse_moment(name, text) if text else None for name, text in (("--begins", begins), ("--ends", ends))
    )
    given = _keys_of(key_file)
    made = [NewApiKey(owner, key, begins=begin, ends=end) for key in given]
    if key_file is None:
        made = [NewApiKey.generated(owner, begins=begin, ends=end)]
    with context.client() as client:
        receipt = client.add_api_keys(made, reason=why)
    own = {} if given else {"key": made[0].key}

    def draw(screen: Screen) -> None:
        _draw(screen, receipt)
        if own:
            screen.print("The key, which nothing can show again:", style="yellow")
            screen.print(own["key"])

    context.show({**receipt.as_json(), **own}, draw)


@keys.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="A JSON object in each line; - for standard input.")],
    why: Why = "",
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Add the keys of a list, or change what is said of them.

    Each line has `key`, or `digest` as API_KEY_TABLE has it, perhaps `begins` and `ends`, and claims. All
    of it is checked first. What is there already isn't written again, and what was revoked stays revoked, so
    that a list may be imported every day.

        {"key": "…", "tenant": "acme", "ends": "2027-06-30"}
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    with Lines(file) as lines:
        with context.progress("checking lines") as on_progress:
            count = lines.check(new_key_of, on_progress)
        made = [new_key_of(line) for _, line in lines]
    with context.client() as client, context.progress("writing keys", count) as on_progress:
        receipt = client.add_api_keys(made, reason=why, on_progress=on_progress)
    context.show(receipt.as_json(), lambda screen: _draw(screen, receipt))


@keys.command("list")
def list_(
    claims: Claims = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 100,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the keys by their digests: whose they are, and which are over or revoked."""
    context, owner = Context(config, environment, namespace_id, base_url, as_json), _claims(claims)
    with context.client() as client, context.progress("listing keys") as _:
        own = (key for key in client.api_keys() if has_claims(key.claims, owner))
        found = list(islice(own, limit + 1))
    shown, is_cut = found[:limit], len(found) > limit
    now = datetime.now(UTC)  # noqa: TID251 - a command is where the clock is read
    values = {"keys": [{**key.as_json(), "state": key.state(now)} for key in shown], "is_cut": is_cut}
    context.show(values, lambda screen: _draw_list(screen, shown, now, is_cut=is_cut))


@keys.command()
def revoke(
    digests: Annotated[
        list[str] | None, typer.Argument(help="Digests, or their first 8 digits or more.")
    ] = None,
    claims: Claims = None,
    key_file: KeyFile = None,
    why: Why = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before all keys of a claim.")] = False,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Revoke keys for good: by digest, by the keys in a file, or all that have a claim.

    They are known by their digests from then on,
    so that no list brings them back.

        origin-sdk keys revoke 4ad9cf3f4d1b --why "leaked in a repository"
        origin-sdk keys revoke --claim tenant=acme --why "contract over"
    """
    context, owner = Context(config, environment, namespace_id, base_url, as_json), _claims(claims)
    if owner and not yes:
        context.confirm(f"Revoke all keys with {', '.join(claims or ())}?")
    with context.client() as client, context.progress("writing keys") as on_progress:
        receipt = client.revoke_api_keys(
            keys=_keys_of(key_file), digests=digests or (), claims=owner, reason=why, on_progress=on_progress
        )
    context.show(receipt.as_json(), lambda screen: _draw(screen, receipt))


def _claims(given: Iterable[str] | None) -> Mapping[str, str]:
    claims: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals) or name in claims:
            raise InvalidRequest(f"--claim {text}: give NAME=VALUE, such as tenant=acme, and each name once")
        claims[name] = value
    return claims


def _keys_of(key_file: str | None) -> tuple[str, ...]:
    """Read keys: never an argument, which other users of the machine see and a shell remembers."""
    if key_file is None:
        return ()
    with Lines(key_file) as lines:
        found = tuple(line for _, line in lines)
    if not found:
        raise InvalidRequest(f"--key-file {key_file}: there is no key in it")
    return found


def _draw(screen: Screen, receipt: ApiKeysReceipt) -> None:
    for name, digests in (
        ("Added", receipt.added),
        ("Changed", receipt.changed),
        ("Revoked", receipt.revoked),
    ):
        if digests:
            beginning = f": {digests[0][:_SHOWN_DIGITS]}…" if len(digests) == 1 else "."
            screen.print(f"{name} {counted(len(digests), 'key')}{beginning}", style="green")
    if receipt.unchanged:
        screen.print(f"{counted(receipt.unchanged, 'key')} as before.")
    if receipt.left_revoked:
        first = ", ".join(digest[:_SHOWN_DIGITS] for digest in receipt.left_revoked[:5])
        stay = "stays" if len(receipt.left_revoked) == 1 else "stay"
        screen.print(
            f"{counted(len(receipt.left_revoked), 'key')} {stay} revoked, {first} among them: make new ones.",
            style="yellow",
        )
    if receipt.visible_by and (receipt.added or receipt.changed or receipt.revoked):
        screen.row("everywhere", f"by {receipt.visible_by:%Y-%m-%d %H:%M:%S} UTC")


def _draw_list(screen: Screen, shown: Sequence[StoredApiKey], now: datetime, *, is_cut: bool) -> None:
    for key in shown:
        claims = " ".join(f"{name}={shown_claim(value)}" for name, value in key.claims.items())
        ends = f"  until {key.ends:%Y-%m-%d %H:%M}" if key.ends else ""
        screen.print(f"{key.digest[:_SHOWN_DIGITS]}  {key.state(now):9}  {claims}{ends}")
        if key.revoked:
            by = f" by {key.by}" if key.by else ""
            screen.row(
                "revoked", f"{key.revoked:%Y-%m-%d %H:%M:%S} UTC{by}{f': {key.why}' if key.why else ''}"
            )
    more = ", and more: raise --limit" if is_cut else ""
    screen.print(f"{counted(len(shown), 'key')}{more}.", style="dim")
