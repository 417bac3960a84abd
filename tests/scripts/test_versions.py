"""The SDK where nothing else is installed. scripts/test --versions does the rest."""

import sys

import pytest

from scripts.runtime.versions import PROMISED, extras, least, without_extras


@pytest.mark.timeout(240)
def test_a_bare_pytest_starts_and_nothing_loads_what_is_not_installed() -> None:
    assert list(without_extras(f"{sys.version_info.major}.{sys.version_info.minor}")) == []


def test_every_extra_names_its_least_versions() -> None:
    requirements = [each for of in extras().values() for each in of]
    assert all("==" in least(each) for each in requirements)
    assert PROMISED.keys() - {""} <= extras().keys()
