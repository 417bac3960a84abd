"""Django's own cache and session tests hold in memory, but for those that the docs name."""

import pytest

from scripts.runtime import django_suite, paths


@pytest.mark.timeout(300)
def test_djangos_tests_hold_in_memory() -> None:
    assert django_suite.main(["--memory"]) == 0


def test_what_does_not_hold_is_documented() -> None:
    text = (paths.ROOT / "docs" / "layers-django.md").read_text()
    missing = {name for name in django_suite.NOT_SO if f"`{name.partition(' ')[0]}`" not in text}
    assert missing == set()
