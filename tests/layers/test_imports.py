"""What `import origin_sdk.layers` loads: what layers need, and nothing of purging."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = "import sys, origin_sdk.layers; print(*sys.modules, sep='\\n')"


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    run = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    "package",
    [
        *("origin_sdk._cloudflare", "origin_sdk._edge", "origin_sdk.outbox", "origin_sdk.events"),
        *("httpx", "redis", "django", "sqlalchemy", "pydantic", "opentelemetry", "prometheus_client"),
    ],
)
def test_layers_load_nothing_of_it(loaded: list[str], package: str) -> None:
    assert [name for name in loaded if name == package or name.startswith(f"{package}.")] == []


def test_what_they_load_of_the_sdk_is_little(loaded: list[str]) -> None:
    rooms = {".".join(name.split(".")[:2]) for name in loaded if name.startswith("origin_sdk.")}
    assert rooms == {
        *("origin_sdk._flow", "origin_sdk._process", "origin_sdk._values", "origin_sdk.layers"),
    }
