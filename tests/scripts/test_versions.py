"""The SDK where nothing else is installed. scripts/test --versions does the rest."""

import re
import sys

import pytest

from scripts.runtime import paths
from scripts.runtime.versions import PROMISED, PYTHONS, extras, least, program, shared, without_extras


@pytest.mark.timeout(240)
def test_a_bare_pytest_starts_and_nothing_loads_what_is_not_installed() -> None:
    assert list(without_extras(f"{sys.version_info.major}.{sys.version_info.minor}")) == []


@pytest.mark.timeout(240)
def test_every_python_shares_an_outbox_with_the_others() -> None:
    assert list(shared([python for python in PYTHONS if program(python)])) == []


def test_every_extra_names_its_least_versions() -> None:
    requirements = [each for of in extras().values() for each in of]
    assert all("==" in least(each) for each in requirements)
    assert {extra for names in PROMISED for extra in names.split(",") if extra} <= extras().keys()


def test_the_docs_name_the_least_versions_and_the_pythons() -> None:
    page = (paths.ROOT / "docs" / "sdk.md").read_text()
    table = page[page.index("| Extra | Least versions |") : page.index("`scripts/test --versions`")]
    for name, requirements in extras().items():
        assert f"`{name}`" in table, name
        for requirement in requirements:
            package, _, version = requirement.partition(";")[0].partition(">=")
            shown = package.partition("[")[0].replace("redis", "redis-py")
            assert f"{shown} {version}".lower() in table.lower(), requirement
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]*)`", row)]
    assert sorted(named) == sorted(extras())
    assert table.rstrip().endswith(f"On CPython {', '.join(PYTHONS[:-1])} and {PYTHONS[-1]}.")
