"""What others rely on beside behaviour: names, signatures, imports, secrets, what is installed."""

import importlib
import inspect
import logging
import pkgutil
import subprocess
import sys
import tomllib
import traceback
import zipfile
from pathlib import Path
from types import ModuleType

import httpx
import pytest

import origin_sdk
from origin_sdk import (
    AsyncNullPurgeClient,
    AsyncPurgeClient,
    NullPurgeClient,
    OriginSdkError,
    PurgeClient,
    Settings,
    errors,
)
from origin_sdk.testing import FakeKV

ROOT = Path(__file__).resolve().parents[2]
NOT_ALONE = (
    "origin_sdk.cli.__main__",  # runs the program
    "origin_sdk.outbox.django",  # models need an application that is set up
)
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(origin_sdk.__path__, "origin_sdk.")
    if not module.name.startswith(NOT_ALONE)
)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_exports_what_it_says(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    exported = getattr(module, "__all__", [])
    assert len(exported) == len(set(exported))
    for each in exported:
        assert getattr(module, each) is not None


def test_the_package_exports_what_it_says() -> None:
    assert origin_sdk.__all__ == sorted(origin_sdk.__all__)
    for name in origin_sdk.__all__:
        assert getattr(origin_sdk, name).__module__.startswith("origin_sdk.")
    with pytest.raises(AttributeError, match="Purger"):
        getattr(origin_sdk, "Purger")  # noqa: B009 - a name that isn't there


def test_every_error_is_in_the_tree_and_has_the_root() -> None:
    tree = errors.__doc__ or ""
    for name in errors.__all__:
        assert f"{name} " in tree or f"{name}\n" in tree
        assert issubclass(getattr(errors, name), OriginSdkError)


VERBS = [
    "purge",
    "send",
    "tell",
    "switch",
    "switches",
    "add_api_keys",
    "revoke_api_keys",
    "api_keys",
    "wait_until_visible",
    "learn_clock",
    "batch",
    "preview",
    "publish",
    "inspect",
    "list",
    "marks",
    "check",
    "require_namespace",
    "warm",
]


@pytest.mark.parametrize("verb", VERBS)
def test_all_clients_take_the_same(verb: str) -> None:
    clients = (PurgeClient, AsyncPurgeClient, NullPurgeClient, AsyncNullPurgeClient)
    names = [list(inspect.signature(getattr(client, verb)).parameters) for client in clients]
    assert names == [names[0]] * len(clients)


def test_no_verb_is_forgotten() -> None:
    public = {
        name for name, member in vars(PurgeClient).items() if callable(member) and not name.startswith("_")
    }
    assert public - {"close"} == set(VERBS)


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_marking_responses_needs_no_httpx() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "import origin_sdk, origin_sdk.responses, origin_sdk.asgi, origin_sdk.django\n"
        "try: origin_sdk.PurgeClient\n"
        "except ImportError as error: print(error)"
    )
    assert python(code) == "origin_sdk.PurgeClient needs httpx: pip install 'origin-sdk[client]'"


def test_sqlalchemy_without_anything_asynchronous_needs_no_greenlet() -> None:
    code = (
        "import sys; sys.modules['greenlet'] = None\n"
        "import origin_sdk.events.sqlalchemy, origin_sdk.layers.sqlalchemy, origin_sdk.outbox.sqlalchemy\n"
        "from sqlalchemy import create_engine\n"
        "from sqlalchemy.orm import Session, sessionmaker\n"
        "edge = origin_sdk.events.sqlalchemy.EdgeEvents()\n"
        "edge.listen(sessionmaker(create_engine('sqlite://')))\n"
        "print('sqlalchemy.ext.asyncio' in sys.modules)"
    )
    assert python(code) == "False"


@pytest.mark.parametrize("name", ["typer", "httpx"])
def test_the_command_without_its_extra_says_what_to_install(name: str) -> None:
    code = (
        f"import sys; sys.modules['{name}'] = None\n"
        "from origin_sdk.cli import main\n"
        "try: main(['purge', '--everything', '--yes'])\n"
        "except SystemExit as end: print(end.code)"
    )
    assert python(code) == f"origin-sdk: {name} is missing: pip install 'origin-sdk[cli]'"


def test_nothing_of_the_worker_is_imported() -> None:
    code = (
        "import sys, origin_sdk.testing, origin_sdk.asgi\n"
        "from origin_sdk import AsyncPurgeClient, PurgeClient\n"
        "print(sorted({'origin_sdk_edge', 'js', 'pyodide', 'workers', 'entry'} & sys.modules.keys()))"
    )
    assert python(code) == "[]"


def test_the_worker_would_upload_nothing_of_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == []


def test_no_secret_is_shown_anywhere(
    fake_kv: FakeKV, purge_client: PurgeClient, caplog: pytest.LogCaptureFixture
) -> None:
    fake_kv.fail_next(99, status=0)
    with caplog.at_level(logging.DEBUG), pytest.raises(OriginSdkError) as raised:
        purge_client.purge(groups="a", timeout=3)
    shown = [
        repr(purge_client),
        repr(purge_client.settings),
        caplog.text,
        *traceback.format_exception(raised.value),
    ]
    assert not any(fake_kv.token in text for text in shown)


def test_no_library_below_logs_the_token(fake_kv: FakeKV, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), fake_kv.serve() as url:
        settings = Settings(base_url=url, namespace_id=fake_kv.namespace_id, token=fake_kv.token)
        with PurgeClient(settings) as client:
            client.purge(groups="a")
    assert fake_kv.requests[0].fields["authorization"] == f"Bearer {fake_kv.token}"
    assert "httpcore" in caplog.text
    assert fake_kv.token not in caplog.text


def test_a_refused_token_is_not_repeated(fake_kv: FakeKV) -> None:
    settings, fake_kv.token = fake_kv.settings, "another"
    client = PurgeClient(settings, transport=fake_kv.transport)
    with pytest.raises(OriginSdkError) as raised:
        client.purge(groups="a")
    assert settings.token not in "".join(traceback.format_exception(raised.value))


def test_without_settings_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, fake_kv: FakeKV) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", fake_kv.token)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", fake_kv.account_id)
    monkeypatch.setenv("EDGE_CACHE_NAMESPACE_ID", fake_kv.namespace_id)
    monkeypatch.delenv("CLOUDFLARE_API_BASE_URL", raising=False)
    with PurgeClient(transport=fake_kv.transport) as client:
        client.purge(groups="a")
    assert fake_kv.stored_keys("m2/") == ["m2/s/group/a"]


def test_respx_can_stand_in_too(fake_kv: FakeKV) -> None:
    import respx  # noqa: PLC0415 - here alone

    answer = {"success": True, "result": {"successful_key_count": 1, "unsuccessful_keys": []}}
    with respx.mock(base_url=fake_kv.settings.namespace_url) as api, PurgeClient(fake_kv.settings) as client:
        bulk = api.put("/bulk").mock(return_value=httpx.Response(200, json=answer))
        assert client.purge(groups="a").requests == 1
        assert bulk.called


def test_the_wheel_holds_the_sdk_and_what_it_shares_with_the_worker_alone(tmp_path: Path) -> None:
    hatchling = Path(sys.executable).parent / "hatchling"
    subprocess.run(
        [hatchling, "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True, capture_output=True
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [entry_points] = [archive.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    rooms = {name.partition("/")[0] for name in names}
    assert {room for room in rooms if not room.endswith(".dist-info")} == {
        "origin_sdk_wire",
        "origin_sdk_edge",
        "origin_sdk",
    }
    assert {"origin_sdk/py.typed", "origin_sdk_wire/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "origin-sdk = origin_sdk.cli:main" in entry_points
    assert python(
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import origin_sdk as o; print(o.__file__)"
    ) == (f"{wheel}/origin_sdk/__init__.py")
