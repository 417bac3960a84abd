"""`origin-sdk drain`."""

import signal
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from origin_sdk._process.audit import AuditFile
from origin_sdk.cli.context import AsJson, BaseUrl, ConfigFile, Context, Environment, NamespaceId
from origin_sdk.outbox import Drainer, OriginRenderer, Pace, Renderers, Round, State
from origin_sdk.outbox._stores.failures import store_errors, without_secrets
from origin_sdk.outbox._stores.urls import open_layers, open_outbox

__all__ = ["OutboxUrl", "drain"]

_DAY_SECONDS = 86400.0
_MAX_DAYS = 36_500

OutboxUrl = Annotated[
    str,
    typer.Option(
        "--outbox",
        help="sqlite:///FILE, postgresql://HOST/NAME, redis://HOST?stream=NAME, or django (with "
        "DJANGO_SETTINGS_MODULE; or use manage.py edge_drain and edge_outbox).",
        envvar="EDGE_CACHE_OUTBOX",
    ),
]


def drain(
    outbox_url: OutboxUrl,
    once: Annotated[bool, typer.Option("--once", help="Stop once nothing is due.")] = False,
    poll: Annotated[
        float, typer.Option("--poll", min=0.01, max=_DAY_SECONDS, help="Seconds between polls.")
    ] = 1.0,
    lease: Annotated[
        float,
        typer.Option(
            "--lease",
            min=1,
            max=_DAY_SECONDS,
            help="Seconds after which another drainer may take over entries.",
        ),
    ] = 120.0,
    keep_days: Annotated[
        float, typer.Option("--keep-days", min=0, max=_MAX_DAYS, help="How long finished entries are kept.")
    ] = 7.0,
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin",
            help="The origin's own URL, past the edge: where responses that are to be published come from.",
            envvar="EDGE_CACHE_ORIGIN",
        ),
    ] = None,
    layers_url: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help="The Redis of the services' layered cache, redis://HOST?prefix=NAME: what is purged is "
            "invalidated there, and in the services' memory, before it is at the edge.",
            envvar="EDGE_CACHE_LAYERS",
        ),
    ] = None,
    config: ConfigFile = None,
    environment: Environment = "",
    namespace_id: NamespaceId = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Deliver what an outbox holds until stopped by a signal. Several drainers of one outbox are safe.

    What fails is retried later; `origin-sdk outbox list` shows it. With --once it exits with 1 if
    something is left.
    """
    context = Context(config, environment, namespace_id, base_url, as_json)
    pace = Pace(poll_seconds=poll, lease_seconds=lease, keep_seconds=keep_days * _DAY_SECONDS)
    renderers = Renderers(OriginRenderer(origin) if origin else None)

    def show(made: Round) -> None:
        context.show(
            {name: getattr(made, name) for name in made.__slots__},
            lambda screen: screen.print(
                f"{made.done} done, {made.failed} wait, {made.dead} dead; lag {made.lag_seconds:.1f} s"
            ),
        )

    with (
        store_errors(outbox_url),
        closing(open_outbox(outbox_url)) as opened,
        open_layers(layers_url) as layers,
        context.client() as client,
    ):
        opened.due_in()  # a store that can't be read is told now, and not in a log
        file = client.settings.audit_file
        audit = AuditFile(Path(file)) if file else None
        drainer = Drainer(opened, client, pace, renderers, audit=audit, on_round=show, layers=layers)
        for number in (signal.SIGINT, signal.SIGTERM):
            # In a thread: a handler interrupts this one anywhere, and so where it holds the lock that `stop`
            # takes, for which it would then wait for ever.
            signal.signal(number, lambda *_: Thread(target=drainer.stop).start())
        if not once:
            context.note(
                f"draining {without_secrets(outbox_url)} into namespace {client.settings.namespace_id} at "
                f"{client.settings.account_url}, every {poll:g} s; Ctrl-C ends it after the round"
            )
            drainer.run()
            return
        drainer.drain()
        if any(opened.status().counts.get(state) for state in (State.WAITING, State.DEAD)):
            raise typer.Exit(1)
