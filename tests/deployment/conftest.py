"""The package as it is published, built once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.runtime import paths

TOOLS = Path(sys.executable).parent


@dataclass(frozen=True)
class Distributions:
    """The files of one build."""

    wheel: Path
    sdist: Path


def build(tree: Path, into: Path) -> Distributions:
    """Build what a tree holds."""
    subprocess.run([TOOLS / "hatchling", "build", "-d", into], cwd=tree, check=True, capture_output=True)
    [wheel], [sdist] = into.glob("*.whl"), into.glob("*.tar.gz")
    return Distributions(wheel, sdist)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    return build(paths.ROOT, tmp_path_factory.mktemp("dist"))
