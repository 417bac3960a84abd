"""`origin-sdk init`, `build` and `upgrade`: what a project consists of, and how it moves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from origin_sdk._deployment import pins, worker_code
from origin_sdk._deployment.compact import compact
from origin_sdk._deployment.frameworks import FRAMEWORKS, guess, requirements_of, sources_of
from origin_sdk._deployment.node import _npm, is_up_to_date
from origin_sdk._deployment.shield_config import local_shield_config
from origin_sdk._deployment.workflows import workflow_for
from origin_sdk._development.process import ProcessError
from origin_sdk._development.wrangler import Tools, Wrangler
from origin_sdk._values.errors import InvalidRequest
from origin_sdk._values.project import read_configurations
from origin_sdk.cli import main
from origin_sdk_wire.config import problems
from scripts.runtime import paths
from scripts.runtime.wrangler import QUIET


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out + told.err


@pytest.fixture(autouse=True)
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a service, in which the commands run."""
    folder = tmp_path / "My shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("required", "framework"),
    [
        pytest.param("", "none", id="nothing at all"),
        pytest.param("Django>=5\n", "django", id="a requirement"),
        pytest.param('dependencies = [\n  "fastapi[standard]>=0.115",\n]', "fastapi", id="with an extra"),
        pytest.param('dependencies = ["a", "flask"]\n', "flask", id="a list in one line, as uv writes it"),
        pytest.param('[tool.poetry.dependencies]\nfastapi = "^0.115"\n', "fastapi", id="Poetry"),
        pytest.param('[packages]\nflask = {version = "*"}\n', "flask", id="a Pipfile"),
        pytest.param('setup(install_requires=["Django~=5.2"])', "django", id="setup.py"),
        pytest.param("flask @ file:///x.whl\r\n", "flask", id="a URL, with the line ends of Windows"),
        pytest.param("Flask\r\n", "flask", id="a bare name, with the line ends of Windows"),
        pytest.param("\n" * 100_000 + "flask\n", "flask", id="after ever so many empty lines"),
        pytest.param("flask\ndjango==4.2\n", "django", id="Django with another one beside"),
        pytest.param("django-flask-like-tool\n# fastapi is fine", "none", id="names that only begin so"),
        pytest.param("djangorestframework==3.15\nDjango==5.2\n", "django", id="Django beside DRF"),
    ],
)
def test_the_framework_is_what_the_service_requires(required: str, framework: str) -> None:
    assert guess([required], []).name == framework


def test_the_framework_is_what_the_sources_import() -> None:
    assert guess([], ["from flask import Flask\n", '"django"\n']).name == "flask"
    assert guess([], ["import os, sys , django\n"]).name == "django"
    assert guess([], ["import fastapi.testclient as c\n"]).name == "fastapi"
    assert guess([], ["from x import django\nimport not_flask, flasked\n"]).name == "none"


def test_what_is_installed_beside_the_service_is_no_sign(service: Path) -> None:
    (service / ".venv").mkdir()
    (service / ".venv" / "x.py").write_text("import django\n")
    (service / "app.py").write_text("import fastapi\n")
    assert guess(requirements_of(service), sources_of(service)).name == "fastapi"


@pytest.mark.parametrize("options", [(), ("--shield",)], ids=["alone", "with a shield"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_project_is_valid_in_every_environment_but_for_what_only_its_owner_knows(
    framework: str, options: tuple[str, ...], service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "init", "--framework", framework, *options)[0] == 0
    assert "%" not in (service / "edge" / "README.md").read_text()
    environments = read_configurations(service / "edge" / "wrangler.toml")
    assert [each.environment for each in environments] == ["", "staging", "production"]
    for each in environments:
        found = problems(each.variables)
        assert (found.errors, found.warnings) == ((), ())
        assert len(each.problems) == (1 if each.environment else 0), "the namespace isn't made yet"
    assert json.loads((service / "edge" / "package.json").read_text())["name"] == "my-shop-edge"
    assert tomllib.loads((service / "edge" / "pyproject.toml").read_text())["project"]["dependencies"] == []


def test_nothing_that_is_there_is_overwritten_without_being_told_to(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    hooks = service / "edge" / "worker" / "hooks.py"
    hooks.write_text("# mine\n")

    told = run(capsys, "init")[1]
    assert "kept: edge/worker/hooks.py is there already" in told
    assert "written:" not in told
    assert hooks.read_text() == "# mine\n"

    told = run(capsys, "init", "--force")[1]
    assert "overwritten: edge/worker/hooks.py" in told
    assert hooks.read_text() == worker_code.starting_hooks()


def test_a_project_with_a_shield_has_one_in_each_environment(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init", "--shield")
    config, file = service / "edge" / "wrangler.toml", service / "edge" / "wrangler.shield.json"
    found = [each.shield_service for each in read_configurations(config)]
    assert found == ["my-shop-edge-local-shield", "my-shop-edge-staging-shield", "my-shop-edge-shield"]

    run(capsys, "build")
    shields = json.loads(file.read_text())
    assert [shields["name"], *(each["name"] for each in shields["env"].values())] == found
    assert "origin-sdk build && wrangler deploy --config" in (service / "edge" / "package.json").read_text()

    _pin(service, "0.0.1")
    config.write_text(config.read_text().replace(pins.COMPATIBILITY_DATE, "2026-09-08"))
    run(capsys, "upgrade")
    assert json.loads(file.read_text())["compatibility_date"] == pins.COMPATIBILITY_DATE


def test_a_shield_that_is_wished_for_later_is_not_written_over_what_is_there(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    told = run(capsys, "init", "--shield")[1]
    assert "binds no shield in [env.staging], [env.production]" in " ".join(told.split())
    assert "warning" not in run(capsys, "init", "--shield", "--force")[1]
    assert "%" not in (service / "edge" / "wrangler.toml").read_text()


def test_a_shield_beside_its_edge_on_one_machine_is_told_what_the_edge_is() -> None:
    declared: dict[str, Any] = {
        "name": "shop",
        "compatibility_flags": ["python_workers"],
        "vars": {"ORIGIN": "https://origin.example.com"},
        "services": [{"binding": "SHIELD", "service": "shop-shield", "props": {"asks": "shield"}}],
    }
    declared["env"] = {"production": {**declared, "name": "of-production"}, "staging": {"vars": {}}}
    variables = {"ORIGIN": "http://127.0.0.1:8000", "CACHE_NAME": "Shop"}
    for environment in ("", "production"):
        text = local_shield_config(declared, environment, variables, ["python_workers", "another"])
        whole = json.loads(text or "")
        chosen = whole["env"][environment] if environment else whole
        assert chosen["vars"] == {**variables, "CACHE_NAME": "Shop-shield"}
        assert chosen["compatibility_flags"] == ["python_workers", "another"]
    assert local_shield_config(declared, "staging", variables, ()) is None


def test_two_environments_have_no_shield_in_common(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "init", "--shield")
    config = service / "edge" / "wrangler.toml"
    config.write_text(config.read_text().replace("edge-staging-shield", "edge-shield"))
    code, told = run(capsys, "check", "--env", "production")
    assert code == 1
    assert "the shield my-shop-edge-shield is that of" in " ".join(told.split())


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        pytest.param(
            ("--name", "x" * 48), "at most 47 characters", id="a name without room for its shield's"
        ),
        pytest.param(("--template", "https://github.com/me/cache"), "leave out --shield", id="a template"),
    ],
)
def test_a_shield_that_cant_be_deployed_is_refused(
    options: tuple[str, ...], remedy: str, service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = run(capsys, "init", "--shield", *options)
    assert code == 2
    assert remedy in " ".join(told.split())
    assert not list(service.iterdir())


def _repository(top: Path, remote: str) -> None:
    (top / ".git").mkdir()
    (top / ".git" / "config").write_text(f'[remote "origin"]\nurl = git@{remote}:me/shop.git\n')


@pytest.mark.parametrize(
    ("remote", "written"),
    [
        pytest.param("github.com", ".github/workflows/edge-cache.yml", id="GitHub"),
        pytest.param("gitlab.example.com", "edge/gitlab-ci.yml", id="GitLab"),
    ],
)
def test_the_workflows_are_those_of_the_remote(
    remote: str, written: str, service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _repository(service, remote)
    run(capsys, "init")
    workflow = (service / written).read_text()
    for command in ("origin-sdk check --env", "wrangler deploy --env", "wrangler rollback --env"):
        assert command in workflow
    assert (
        {".github/workflows/edge-cache.yml", "edge/gitlab-ci.yml"}
        - {written}
        - {str(each.relative_to(service)) for each in service.rglob("*.yml")}
    )


@pytest.mark.parametrize(
    ("top", "folder", "place", "pattern"),
    [
        pytest.param("", "edge", "edge", "edge/**", id="a service at the top"),
        pytest.param("..", "edge", "My shop/edge", "My shop/edge/**", id="a service below the top"),
        pytest.param("..", "../edge", "edge", "edge/**", id="the project beside a service below the top"),
        pytest.param("", ".", ".", "**", id="the project at the top"),
        pytest.param("", "a/../b/./c", "b/c", "b/c/**", id="a roundabout path"),
        pytest.param("", "../edge", None, None, id="outside of the repository"),
        pytest.param("", 'the "edge"', None, None, id="a name that YAML reads otherwise"),
    ],
)
def test_workflows_lie_at_the_top_and_name_the_folder_from_there(
    top: str,
    folder: str,
    place: str | None,
    pattern: str | None,
    service: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    repository = (service / top).resolve()
    _repository(repository, "github.com")

    code, told = run(capsys, "init", folder)

    if place is None or pattern is None:
        assert code == 2
        assert "--ci none" in told
        assert not list(service.rglob("*.toml")), "nothing is written"
        assert run(capsys, "init", folder, "--ci", "none")[0] == 0
        return
    assert code == 0
    workflow = YAML(typ="safe").load(repository / ".github" / "workflows" / "edge-cache.yml")
    assert workflow["defaults"]["run"]["working-directory"] == place
    assert workflow["on"]["push"]["paths"] == [pattern]
    assert (repository / place / "wrangler.toml").exists()


def test_each_service_of_a_repository_has_a_workflow_of_its_own(
    service: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _repository(service, "github.com")
    workflows = service / ".github" / "workflows"
    for name in ("shop", "blog", "api", "old/api"):
        (service / name).mkdir(parents=True)

    def init(name: str, *options: str) -> tuple[int, str]:
        monkeypatch.chdir(service / name)
        return run(capsys, "init", *options)

    init("shop")
    first = (workflows / "edge-cache.yml").read_bytes()
    assert "written: ../.github/workflows/edge-cache-blog-edge.yml" in init("blog")[1]
    assert "edge-cache-blog-edge.yml" in (service / "blog" / "edge" / "README.md").read_text()
    init("api")
    assert (workflows / "edge-cache.yml").read_bytes() == first
    for name in ("blog", "shop", "api"):
        again = init(name)[1]
        assert "written:" not in again, "each finds its own again"
        assert "kept:" not in again
    found = [YAML(typ="safe").load(each) for each in sorted(workflows.iterdir())]
    assert len({each["name"] for each in found}) == 3
    assert len({each["concurrency"]["group"] for each in found}) == 3, "none waits for another's"

    code, told = init("old/api")
    assert code == 2
    assert "deploys the Worker 'api-edge' of api/edge" in " ".join(told.split())
    assert not (service / "old" / "api" / "edge").exists()
    assert init("old/api", "--name", "old-api")[0] == 0
    assert len(list(workflows.iterdir())) == 4


@pytest.mark.parametrize(
    ("there", "path"),
    [
        pytest.param({}, "edge-cache.yml", id="none"),
        pytest.param({"edge-cache.yml": "a/edge"}, "edge-cache.yml", id="its own"),
        pytest.param({"edge-cache.yml": "'a/edge' # here"}, "edge-cache.yml", id="its own, edited"),
        pytest.param({"edge-cache.yml": "a/edge\r"}, "edge-cache.yml", id="its own, of Windows"),
        pytest.param({"edge-cache.yml": ""}, "edge-cache.yml", id="one that doesn't say whose it is"),
        pytest.param({"edge-cache.yml": "b/edge"}, "edge-cache-a-edge.yml", id="another's"),
        pytest.param({"edge-cache-b-edge.yml": "b/edge"}, "edge-cache.yml", id="a later one alone"),
        pytest.param(
            {"edge-cache.yml": "b/edge", "edge-cache-x.yml": "a/edge"},
            "edge-cache-x.yml",
            id="its own, of an earlier name",
        ),
        pytest.param(
            {"edge-cache.yml": "b/edge", "edge-cache-a-edge.yml": "c/edge"}, None, id="the name is taken"
        ),
    ],
)
def test_a_workflow_is_known_by_the_folder_it_names(there: Mapping[str, str], path: str | None) -> None:
    texts = {
        f".github/workflows/{name}": f"defaults:\n  run:\n    working-directory: {folder}\n"
        for name, folder in there.items()
    }
    if path is None:
        with pytest.raises(InvalidRequest, match="deploys c/edge"):
            workflow_for("a/edge", "a-edge", texts)
    else:
        assert workflow_for("a/edge", "a-edge", texts) == f".github/workflows/{path}"


@pytest.mark.parametrize("name", ["wrangler.json", "wrangler.jsonc"])
def test_a_folder_where_wrangler_would_take_another_configuration_is_refused(
    name: str, service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (service / "edge").mkdir()
    (service / "edge" / name).write_text("{}")
    code, told = run(capsys, "init")
    assert code == 2
    assert f"wrangler would take edge/{name}" in told
    assert [each.name for each in (service / "edge").iterdir()] == [name]


def test_another_workers_configuration_beside_the_service_hides_no_project(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (service / "wrangler.toml").write_text('name = "site"\nmain = "src/index.ts"\n')
    run(capsys, "init")
    assert "the Worker of origin-sdk" in run(capsys, "build")[1]


def test_files_with_the_line_ends_of_windows_are_as_they_were_written(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    for file in service.rglob("*.toml"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    (service / "edge" / "worker" / "hooks.py").write_bytes(b"# \xe9, of another encoding\n")
    told = run(capsys, "init")[1]
    assert told.count("kept:") == 1
    assert "kept: edge/worker/hooks.py" in told


TEMPLATE = "https://github.com/someone/edge-cache-template"


def test_a_template_is_what_the_deploy_button_and_create_cloudflare_take(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "init", "cache", "--template", TEMPLATE, "--framework", "none")[0] == 0
    folder = service / "cache"
    assert [each.name for each in service.iterdir()] == ["cache"], "all of it lies in the one folder"

    [configuration] = read_configurations(folder / "wrangler.toml")
    found = problems(configuration.variables)
    assert (found.errors, found.warnings, configuration.problems) == ((), (), ())
    package = json.loads((folder / "package.json").read_text())
    assert package["cloudflare"]["bindings"].keys() == {"CACHE", *configuration.variables}
    # The button asks for each secret that is set here, and deploys what it shows.
    example = (folder / ".dev.vars.example").read_text().splitlines()
    assert all(not line or line.startswith("#") for line in example)
    assert TEMPLATE in (folder / "README.md").read_text()

    # What Workers Builds does: the scripts of package.json, with the tools on PATH.
    assert package["scripts"]["deploy"] == "wrangler deploy"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [str(paths.NODE), str(paths.WRANGLER), "deploy", "--dry-run", "--outdir", "out"]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **QUIET, "PATH": path, "WRANGLER_LOG_PATH": str(folder / "logs")},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "out" / "origin_sdk_edge" / "handler.py").exists()


@pytest.mark.parametrize(
    "url", ["edge", "https://example.com/a/b", "https://github.com/a", "https://github.com/a/b c"]
)
def test_a_template_lies_where_the_button_finds_it(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "init", "--template", url)
    assert code == 2
    assert "write one like https://github.com/" in told


@pytest.mark.parametrize("name", ["Shop", "a_b", "-a", "x" * 55])
def test_a_name_that_no_worker_can_have_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "init", "--name", name)
    assert code == 2
    assert "can't be a Worker's" in told


@pytest.mark.parametrize("option", ["--origin", "--production-origin"])
@pytest.mark.parametrize(
    "url", ["api.example.com", "http://h:99999", "http://h:0", "https://h/?q", 'http://h"', "http://[1"]
)
def test_what_is_no_origin_is_refused(option: str, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = run(capsys, "init", option, url)
    assert code == 2
    assert f"{option} {url!r} is not an origin: write one like" in told


def test_a_build_puts_the_worker_in_place_and_takes_away_what_is_no_longer_of_it(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    worker = service / "edge" / "worker"
    assert run(capsys, "build")[0] == 0
    built = {file.relative_to(worker).as_posix() for file in worker.rglob("*.py")}
    assert built == {file.relative_to(paths.WORKER).as_posix() for file in paths.WORKER.rglob("*.py")}

    (worker / "entry.py").write_text("edited\n")
    (worker / "origin_sdk_edge" / "gone.py").touch()
    (worker / "hooks.py").write_text("# mine\n")
    assert "1 file written, 1 removed" in run(capsys, "build")[1]
    assert (worker / "entry.py").read_text() == compact((paths.WORKER / "entry.py").read_text())
    assert (worker / "hooks.py").read_text() == "# mine\n"
    assert "is in place" in run(capsys, "build")[1]


_SHIELDED = """
[[env.production.services]]
binding = "SHIELD"
service = "my-shop-edge-shield"
props = { asks = "shield" }

[[env.production.services]]
binding = "OTHER"
service = "other"

[[env.production.durable_objects.bindings]]
name = "PURGE_LOG"
class_name = "PurgeLog"

[[env.production.analytics_engine_datasets]]
binding = "METRICS"
dataset = "edge_cache"
"""


def test_a_build_writes_the_shield_of_the_environments_that_bind_one(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init", "--production-origin", "https://origin.example.com")
    config, file = service / "edge" / "wrangler.toml", service / "edge" / "wrangler.shield.json"
    run(capsys, "build", "--config", str(config))
    assert not file.exists()

    before = config.read_text()
    routed, origin = before.replace("# routes = [", "routes = ["), 'ORIGIN = "https://origin.example.com"\n'
    placed = routed.replace(origin, f'{origin}SHIELD_PLACEMENT = "aws:eu-central-1"\n')
    config.write_text(placed + _SHIELDED)
    run(capsys, "build", "--config", str(config))
    whole = json.loads(file.read_text())
    assert whole["env"].keys() == {"production"}
    shield = whole["env"]["production"]
    declared = tomllib.loads(config.read_text())["env"]["production"]
    assert (shield["name"], shield["placement"]) == ("my-shop-edge-shield", {"region": "aws:eu-central-1"})
    assert (shield["workers_dev"], shield["preview_urls"]) == (False, False)
    assert "routes" in declared
    assert "routes" not in shield, "nobody reaches it but the edge"
    assert shield["vars"] == {**declared["vars"], "CACHE_NAME": "EdgeCache-shield"}
    assert shield["kv_namespaces"] == declared["kv_namespaces"]
    assert [each["binding"] for each in shield["services"]] == ["OTHER"], "a shield has none"
    assert shield["durable_objects"]["bindings"][0]["script_name"] == "my-shop-edge"
    assert shield["analytics_engine_datasets"][0]["dataset"] == "edge_cache_shield"
    assert whole["name"] == "my-shop-edge-shield", "no deploy of it replaces an edge"
    assert whole["main"] == tomllib.loads(before)["main"]

    config.write_text(before)
    run(capsys, "build", "--config", str(config))
    assert not file.exists(), "what is no longer bound is gone"


@pytest.mark.parametrize("in_the_way", ["worker", "worker/entry.py", "worker/origin_sdk_edge"])
def test_a_place_that_cant_be_written_to_is_named(
    service: Path, capsys: pytest.CaptureFixture[str], in_the_way: str
) -> None:
    run(capsys, "init")
    (service / "edge" / "worker").rename(service / "edge" / "before")
    place = service / "edge" / in_the_way
    place.parent.mkdir(exist_ok=True)
    if in_the_way.endswith(".py"):
        place.mkdir()
    else:
        place.touch()
    code, told = run(capsys, "build")
    assert code == 2
    assert re.search(rf"can't be written to \S*{re.escape(in_the_way)}: ", told), told


def test_another_version_than_the_pinned_one_is_not_deployed(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    _pin(service, "0.0.1")
    code, told = run(capsys, "build")
    assert code == 2
    assert "pins origin-sdk 0.0.1" in told
    assert "origin-sdk upgrade" in told


@pytest.mark.parametrize("command", ["build", "upgrade", "dev"])
@pytest.mark.parametrize(
    ("file", "content", "remedy"),
    [
        pytest.param("origin-sdk.txt", None, "write origin-sdk[cli]==", id="no pin's file"),
        pytest.param("origin-sdk.txt", b"origin-sdk[cli]>=0.1\n", "write origin-sdk[cli]==", id="no pin"),
        pytest.param("origin-sdk.txt", b"\xff\xfe", "save it as UTF-8", id="a pin that isn't text"),
        pytest.param("wrangler.toml", None, "origin-sdk init", id="no settings"),
        pytest.param("wrangler.toml", b"\xff\xfe", "isn't TOML", id="settings that aren't text"),
        pytest.param("wrangler.toml", b"[[[", "isn't TOML", id="settings that aren't TOML"),
        pytest.param("wrangler.toml", b"vars = 5", "write [vars]", id="settings that are no table"),
        pytest.param(
            "wrangler.toml", b"[env.a]\nvars = 5", "write [env.a.vars]", id="an environment's that are none"
        ),
        pytest.param("wrangler.toml", b"env.a = 5", "write [env.a]", id="an environment that is none"),
        pytest.param("worker/hooks.py", None, "origin-sdk init", id="no hooks"),
    ],
)
def test_a_file_of_the_project_that_is_missing_or_garbage_is_named_with_the_remedy(
    command: str,
    file: str,
    content: bytes | None,
    remedy: str,
    service: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(capsys, "init")
    path = service / "edge" / file
    path.unlink() if content is None else path.write_bytes(content)
    code, told = run(capsys, command)
    assert code == 2
    assert path.name in told
    assert remedy in told


def test_the_source_of_the_worker_is_not_written_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(paths.ROOT)
    code, told = run(capsys, "build")
    assert code == 2
    assert "is the source of the Worker" in told


def test_an_upgrade_moves_the_pins_and_nothing_of_ones_own(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    edge = service / "edge"
    _pin(service, "0.0.1")
    package, config = edge / "package.json", edge / "wrangler.toml"
    package.write_text(package.read_text().replace(pins.WRANGLER_VERSION, "4.0.0"))
    config.write_text(config.read_text().replace(pins.COMPATIBILITY_DATE, "2026-09-08") + "# mine\n")
    (edge / "worker" / "hooks.py").write_text("# mine\n")

    code, told = run(capsys, "upgrade", "--json")

    values = json.loads(told)
    assert code == 0
    assert (values["before"], values["version"]) == ("0.0.1", worker_code.installed_version())
    assert values["moved"] == ["package.json", "wrangler.toml", "origin-sdk.txt"]
    assert "entry.py" in values["written"]
    assert values["changes"]
    assert {each["environment"].rpartition("[")[2] for each in values["problems"]} == {
        "env.staging]",
        "env.production]",
    }
    assert f'"wrangler": "{pins.WRANGLER_VERSION}"' in package.read_text()
    assert f'compatibility_date = "{pins.COMPATIBILITY_DATE}"' in config.read_text()
    assert config.read_text().endswith("# mine\n")
    assert (edge / "worker" / "hooks.py").read_text() == "# mine\n"
    assert "uses origin-sdk" in run(capsys, "upgrade")[1]


def test_an_upgrade_keeps_line_ends_and_what_is_newer(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    _pin(service, "0.0.1")
    edge = service / "edge"
    package = edge / "package.json"
    package.write_text(package.read_text().replace(pins.WRANGLER_VERSION, "^99.1.0"))
    config = edge / "wrangler.toml"
    config.write_bytes(config.read_bytes().replace(b"\n", b"\r\n").replace(b"2026-11-01", b"2026-09-08"))
    assert json.loads(run(capsys, "upgrade", "--json")[1])["moved"] == ["wrangler.toml", "origin-sdk.txt"]
    assert b'"2026-11-01"\r\n' in config.read_bytes()
    assert config.read_bytes().count(b"\n") == config.read_bytes().count(b"\r\n")


def test_an_upgrade_that_was_interrupted_is_told_again_from_where_it_began(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    _pin(service, "0.0.1")
    in_the_way = service / "edge" / "worker" / "entry.py"
    in_the_way.mkdir()
    before = {file: file.read_bytes() for file in service.rglob("*") if file.is_file()}
    assert run(capsys, "upgrade")[0] == 2
    assert {file: file.read_bytes() for file in before} == before, "the code first, then the pins"
    in_the_way.rmdir()
    assert json.loads(run(capsys, "upgrade", "--json")[1])["before"] == "0.0.1"


def test_an_upgrade_goes_no_version_back(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "init")
    _pin(service, "99.0.0")
    code, told = run(capsys, "upgrade")
    assert code == 2
    assert "pins origin-sdk 99.0.0, and the older" in told
    assert "pip install -r edge/origin-sdk.txt" in told


def test_changes_are_those_after_the_one_version_up_to_the_other() -> None:
    log = (
        "# Changelog\n\n## Unreleased\n\n- u\n\n## 1.10.0 of May\n\n- c\n\n## 1.9.0\n\n- b\n\n## 1.2\n\n- a\n"
    )
    assert pins.changes_between(log, "1.2", "1.10.0") == "## 1.10.0\n\n- c\n\n## 1.9.0\n\n- b"
    assert pins.changes_between(log, "1.10.0", "1.10.0") == ""


def test_projects_are_pinned_to_what_this_tree_is_tested_with() -> None:
    config = tomllib.loads(paths.WRANGLER_CONFIG.read_text())
    package = json.loads((paths.ROOT / "package.json").read_text())
    template = Path(pins.__file__).with_name("template") / "wrangler.toml"
    assert config["compatibility_date"] == pins.COMPATIBILITY_DATE
    assert package["devDependencies"]["wrangler"] == pins.WRANGLER_VERSION
    assert package["engines"]["node"] == ">=" + ".".join(map(str, (*pins.NODE_VERSION, 0)))
    for flag in config["compatibility_flags"]:
        assert f'  "{flag}",' in template.read_text()


def _pin(service: Path, version: str) -> None:
    pin = service / "edge" / "origin-sdk.txt"
    pin.write_text(pin.read_text().replace(worker_code.installed_version(), version))


def test_pyodide_that_cant_be_downloaded_is_named_with_the_remedy(
    service: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "init")
    url = "\x1b[4mhttps://pyodide.example/pyodide_3.capnp.bin;\x1b[0m"
    script = service / "wrangler.py"
    script.write_text(f"print({f'failed: Request for Pyodide bundle failed; url = {url} no such host'!r})")
    with pytest.raises(ProcessError, match=r"let this machine reach https://pyodide\.example, then"):
        Wrangler(
            service / "log", tools=Tools(Path(sys.executable), script), config=service / "edge/wrangler.toml"
        )


def test_npm_is_that_of_the_same_node() -> None:
    node, script = _npm(paths.NODE)
    told = subprocess.run([node, script, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", told.stdout)


@pytest.mark.parametrize(
    ("declared", "installed", "behind"),
    [
        pytest.param("4.164.0", "4.164.0", False, id="the same"),
        pytest.param("4.164.0", "4.99.9", True, id="an upgrade has moved the pin"),
        pytest.param("^4.160.0", "4.164.0", False, id="a range"),
        pytest.param("latest", "4.0.0", False, id="no version"),
    ],
)
def test_a_wrangler_that_is_older_than_its_pin_is_installed_anew(
    declared: str, installed: str, behind: bool, service: Path
) -> None:
    package = service / "node_modules" / "wrangler" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"version": installed}))
    (service / "package.json").write_text(json.dumps({"devDependencies": {"wrangler": declared}}))
    script = package.parent / "bin" / "wrangler.js"
    assert is_up_to_date(service, script) is not behind
    assert is_up_to_date(service / "edge", script), "of a folder above"


def test_what_changed_is_shown_line_by_line(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "init")
    _pin(service, "0.0.1")
    told = run(capsys, "upgrade")[1].splitlines()
    assert f"## {worker_code.installed_version()}" in told
    assert any(line.startswith("- ") for line in told)
