"""The package as it is published: the same from the same source, complete, and usable with nothing else."""

from __future__ import annotations

import json
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

import hatch_build
from scripts.runtime import paths
from scripts.runtime.versions import PYTHONS, program
from tests.deployment.conftest import TOOLS, Distributions, build

PROJECT: dict[str, Any] = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
SMOKE = """
import origin_sdk, origin_sdk.asgi, origin_sdk.outbox, origin_sdk_edge.handler, origin_sdk_wire
from importlib.metadata import version
from origin_sdk._deployment.changelog import changelog
from origin_sdk._deployment.worker_code import starting_hooks, worker_code
assert "entry.py" in worker_code() and "def before_lookup" in starting_hooks()
print(version("origin-sdk"), f"## {version('origin-sdk')}" in changelog())
"""


def test_a_wheel_of_the_unpacked_sdist_is_the_same_byte_by_byte(
    distributions: Distributions, tmp_path: Path
) -> None:
    with tarfile.open(distributions.sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    [source] = (tmp_path / "source").iterdir()

    again = build(source, tmp_path / "again")

    assert again.wheel.read_bytes() == distributions.wheel.read_bytes()
    assert again.sdist.read_bytes() == distributions.sdist.read_bytes()


def test_an_index_would_take_it(distributions: Distributions) -> None:
    files = [distributions.wheel, distributions.sdist]
    done = subprocess.run(
        [TOOLS / "twine", "check", "--strict", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_has_types_its_licence_and_a_bill_of_materials(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as archive:
        names = set(archive.namelist())
        [sbom] = [name for name in names if ".dist-info/sboms/" in name]
        document = json.loads(archive.read(sbom))
    rooms = {name.partition("/")[0] for name in names if not name.partition("/")[0].endswith(".dist-info")}
    assert {f"{room}/py.typed" for room in rooms} <= names
    assert f"{sbom.partition('/')[0]}/licenses/LICENSE" in names
    this = f"pkg:pypi/origin-sdk@{PROJECT['version']}"
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["purl"] == this
    refs = {each["bom-ref"] for each in document["components"]}
    assert {"pkg:pypi/httpx", "pkg:pypi/sqlalchemy"} < refs
    plot = json.loads((paths.ROOT / "package.json").read_text())["devDependencies"]["uplot"]
    assert f"pkg:npm/uplot@{plot}" in refs
    assert [each["ref"] for each in document["dependencies"]] == [this]
    assert set(document["dependencies"][0]["dependsOn"]) == refs


@pytest.mark.parametrize("python", PYTHONS)
def test_it_works_with_nothing_else_installed(
    python: str, distributions: Distributions, tmp_path: Path
) -> None:
    if not (interpreter := program(python)):
        pytest.skip(f"CPython {python} isn't on this machine")
    subprocess.run([TOOLS / "uv", "venv", "-q", "--python", interpreter, tmp_path / "bare"], check=True)
    install: list[str | Path] = [TOOLS / "uv", "pip", "install", "-q", "--no-deps"]
    subprocess.run([*install, "--python", tmp_path / "bare", distributions.wheel], check=True)

    done = subprocess.run(
        [tmp_path / "bare" / "bin" / "python", "-W", "error", "-c", SMOKE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.split() == [PROJECT["version"], "True"], done.stderr


def test_all_is_all_extras() -> None:
    extras = PROJECT["optional-dependencies"]
    named = {each.removeprefix("origin-sdk[").removesuffix("]") for each in extras["all"]}
    covered = named | {
        inner
        for name in named
        for each in extras[name]
        if (inner := each.removeprefix("origin-sdk[").removesuffix("]")) in extras
    }
    # `cli` asks for what the extra for Prometheus is.
    assert extras.keys() - covered == {"all", "prometheus"}
    assert set(extras["prometheus"]) <= set(extras["cli"])


@pytest.mark.parametrize(
    ("repository", "text", "expected"),
    [
        pytest.param("", "[a](docs/a.md)", "[a](docs/a.md)", id="no repository is set"),
        pytest.param(
            "https://h/r", "[a](docs/a.md#b)", "[a](https://h/r/blob/main/docs/a.md#b)", id="a page"
        ),
        pytest.param(
            "https://h/r", "![a](docs/a.png)", "![a](https://h/r/raw/main/docs/a.png)", id="a picture"
        ),
        pytest.param("https://h/r", "[a](#b) [c](https://d)", "[a](#b) [c](https://d)", id="no path of ours"),
    ],
)
def test_one_setting_leads_the_readmes_links(repository: str, text: str, expected: str) -> None:
    assert hatch_build.with_links(text, repository) == expected


def test_one_setting_fills_the_urls() -> None:
    assert hatch_build.addresses("") == {}
    urls = hatch_build.addresses("https://h/r")
    assert urls["Source"] == "https://h/r"
    assert all(url.startswith("https://h/r") for url in urls.values())
