"""Workflows can't run here: their form is held against the hosts' schemas, and what they run is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from scripts.runtime import paths
from scripts.runtime.wrangler import QUIET
from tests.deployment.conftest import TOOLS

_TARGET = "production"
_NEEDS_ACCOUNT = re.compile(r"npx (wrangler (?:deploy|rollback)) (?!--dry-run)(.*)")
_INSTALLS = re.compile(r"(?:pip|npm) install ")
_OPTION = re.compile(r"--[a-z-]+")


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """What `init` writes for each host, ready to be deployed."""
    hosts = ("github", "gitlab")
    found = {host: _project(tmp_path_factory.mktemp(host), host) for host in hosts}
    found |= {
        f"{host} with a shield": _project(tmp_path_factory.mktemp(host), host, "--shield") for host in hosts
    }
    return found


def _project(service: Path, host: str, *options: str) -> Path:
    command: list[str | Path] = [TOOLS / "origin-sdk", "init", "--ci", host, *options]
    subprocess.run(command, cwd=service, check=True, capture_output=True)
    config = service / "edge" / "wrangler.toml"
    config.write_text(config.read_text().replace('id = ""', 'id = "0123456789abcdef0123456789abcdef"'))
    (service / "edge" / "node_modules").symlink_to(paths.NODE_MODULES)
    return service


_GITHUB = paths.ROOT / ".github"


def test_this_tree_runs_no_workflow_that_init_wrote() -> None:
    assert {file.name for file in (_GITHUB / "workflows").iterdir()} == {"check.yml", "release.yml"}


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        pytest.param("github-workflows", sorted((_GITHUB / "workflows").iterdir()), id="our own workflows"),
        pytest.param(
            "github-issue-forms",
            [each for each in sorted((_GITHUB / "ISSUE_TEMPLATE").iterdir()) if each.stem != "config"],
            id="issue forms",
        ),
        pytest.param("github-issue-config", [_GITHUB / "ISSUE_TEMPLATE" / "config.yml"], id="their menu"),
        pytest.param("dependabot", [_GITHUB / "dependabot.yml"], id="updates"),
        pytest.param("github-workflows", "github/.github/workflows/edge-cache.yml", id="a project's, GitHub"),
        pytest.param("gitlab-ci", "gitlab/edge/gitlab-ci.yml", id="a project's, GitLab"),
        pytest.param(
            "github-workflows",
            "github with a shield/.github/workflows/edge-cache.yml",
            id="with a shield, GitHub",
        ),
        pytest.param("gitlab-ci", "gitlab with a shield/edge/gitlab-ci.yml", id="with a shield, GitLab"),
    ],
)
def test_the_form_is_that_of_the_host(
    schema: str, files: list[Path] | str, projects: Mapping[str, Path]
) -> None:
    if isinstance(files, str):
        host, _, name = files.partition("/")
        files = [projects[host] / name]
    command: list[str | Path] = [TOOLS / "check-jsonschema", "--builtin-schema", f"vendor.{schema}"]
    command += ["--data-transform", "gitlab-ci"] if schema == "gitlab-ci" else []
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_push_is_deployed_from_the_default_branch_whatever_its_name(projects: Mapping[str, Path]) -> None:
    file = projects["github"] / ".github" / "workflows" / "edge-cache.yml"
    jobs = _jobs(file)
    assert "branches" not in file.read_text()
    assert "github.ref_name == github.event.repository.default_branch" in jobs["check"]["if"]
    assert jobs["deploy"]["needs"] == "check"


def test_nothing_in_them_is_unsafe(projects: Mapping[str, Path]) -> None:
    """Actions by hash, least permissions, no token left in the tree, nothing of a request in a script."""
    command: list[str | Path] = [TOOLS / "zizmor", "--offline", "--quiet", "--format", "plain"]
    own = [projects[each] / ".github" for each in ("github", "github with a shield")]
    done = subprocess.run([*command, _GITHUB, *own], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(240)
def test_what_a_projects_workflows_run_works(projects: Mapping[str, Path]) -> None:
    folder = projects["github with a shield"] / "edge"
    # Each once, in the order in which they run; those without a shield are among them.
    commands = dict.fromkeys(
        command for host in reversed([*projects]) for command in _commands(projects[host], host)
    )
    needing = [found for each in commands if (found := _NEEDS_ACCOUNT.fullmatch(each))]
    for command in commands:
        if not (_INSTALLS.match(command) or _NEEDS_ACCOUNT.fullmatch(command) or command == 'cd "edge"'):
            _run(command, folder)
    assert {found[1] for found in needing} == {"wrangler deploy", "wrangler rollback"}
    for program in ("wrangler deploy", "wrangler rollback"):
        told = _run(f"npx {program} --help", folder)
        options = {each for found in needing if found[1] == program for each in _OPTION.findall(found[2])}
        assert options
        assert {each for each in options if each not in told} == set()


@pytest.mark.parametrize("host", ["github", "gitlab"])
def test_a_shield_is_deployed_before_its_edge_and_rolled_back_after_it(
    host: str, projects: Mapping[str, Path]
) -> None:
    name = f"{host} with a shield"
    commands = [each for each in _commands(projects[name], name) if "wrangler" in each or " build" in each]
    assert [re.sub(r" --env.*", "", each) for each in commands] == [
        "npx wrangler deploy --dry-run",
        "npx wrangler deploy --dry-run --config wrangler.shield.json",
        "origin-sdk build",
        "npx wrangler deploy --config wrangler.shield.json",
        "npx wrangler deploy",
        "npx wrangler rollback",
        "origin-sdk build",
        "npx wrangler rollback --config wrangler.shield.json",
    ]


def test_what_the_release_asks_for_its_version_tells_it() -> None:
    told = subprocess.run(
        [TOOLS / "hatchling", "version"], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", told.stdout)
    [release] = [
        each
        for each in _jobs(_GITHUB / "workflows" / "release.yml")["build"]["steps"]
        if "version" in each.get("run", "")
    ]
    assert ".venv/bin/hatchling version" in release["run"]


def _jobs(file: Path) -> Mapping[str, Any]:
    jobs: Mapping[str, Any] = YAML(typ="safe").load(file)["jobs"]
    return jobs


def _commands(service: Path, host: str) -> Iterator[str]:
    """Yield what runs: in each job's folder, with the variables that the job sets."""
    if host.startswith("github"):
        for job in _jobs(service / ".github" / "workflows" / "edge-cache.yml").values():
            yield from (step["run"] for step in job["steps"] if "run" in step)
    else:
        for job in YAML(typ="safe").load(service / "edge" / "gitlab-ci.yml").values():
            yield from (*job.get("before_script", ()), *job.get("script", ()))


def _run(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), str(paths.NODE.parent), os.environ["PATH"]])
    logs = str(folder / "logs")
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, **QUIET, "PATH": path, "TARGET": _TARGET, "WRANGLER_LOG_PATH": logs},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr
