"""Run Django's own cache and session tests against the layered backend.

usage: scripts/django-suite [--memory] [-k NAME ...]

The tests come with Django's source distribution, of the version and the hashes that the lock file names; a
package index is asked for it once. They run over Redis, over Redis with `MEMORY_SECONDS`, and in memory
alone. What fails has to be in `NOT_SO`, with its reason, and what is there has to fail.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.runtime.paths import ROOT
from scripts.runtime.redis_servers import RedisServer

__all__ = ["NOT_SO", "main", "source"]

_FOLDER = ROOT / ".runtime" / "django-suite"
_UNPICKLED = "values aren't pickled, so that who can write to Redis can't run code here"
_NOT_AS_PICKLE = "what can't be stored raises UnsupportedValue, which names the type, not pickle's error"
NOT_SO: Mapping[str, str] = {
    "test_cull": "Redis has a maxmemory of its own, and memory evicts one by one, not a third at a time",
    "test_zero_cull": "CULL_FREQUENCY isn't known: what is in use isn't dropped to make room for one more",
    "test_cache_read_for_model_instance": _UNPICKLED,
    "test_cache_read_for_model_instance_with_deferred": _UNPICKLED,
    "test_cache_write_for_model_instance_with_deferred": _UNPICKLED,
    "test_data_types (key='function')": _UNPICKLED,
    "test_data_types (key='class')": _UNPICKLED,
    "test_add_fail_on_pickleerror": _NOT_AS_PICKLE,
    "test_set_fail_on_pickleerror": _NOT_AS_PICKLE,
}
"""Django's tests that don't hold, and why. docs/layers-django.md names them, too."""
WAYS = ("redis", "redis and memory", "memory")


def source() -> Path:
    """Return the folder of the tests of the Django that is installed, which is fetched if it isn't there."""
    import django  # noqa: PLC0415 - the version of this Python

    version = django.get_version()
    folder = _FOLDER / f"django-{version}"
    if not (folder / "tests").exists():
        _fetch(version)
    return folder / "tests"


def _fetch(version: str) -> None:
    """Fetch a source distribution whose hash the lock file has."""
    hashes = _hashes(version)
    with tempfile.TemporaryDirectory() as name:
        wanted = Path(name) / "wanted.txt"
        wanted.write_text(f"django=={version} {' '.join(f'--hash={each}' for each in hashes)}\n")
        how = ("--no-deps", "--no-binary", "django", "--require-hashes", "-q", "--disable-pip-version-check")
        command = (sys.executable, "-m", "pip", "download", *how, "-d", name, "-r", str(wanted))
        subprocess.run(command, check=True)  # noqa: S603 - our own arguments, no shell
        (archive,) = Path(name).glob("*.tar.gz")
        with tarfile.open(archive) as opened:
            members = [each for each in opened.getmembers() if "/tests/" in each.name]
            opened.extractall(_FOLDER, members=members, filter="data")
    (found,) = (each for each in _FOLDER.iterdir() if each.name.lower() == f"django-{version}")
    if found.name != f"django-{version}":
        found.rename(_FOLDER / f"django-{version}")


def _hashes(version: str) -> list[str]:
    """Return the hashes of a version in the lock files."""
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        pattern = rf"^django=={re.escape(version)}\b(.*?)^(?=\S|$)"
        if found := re.search(pattern, lock.read_text() + "\n", re.MULTILINE | re.DOTALL):
            return re.findall(r"--hash=(sha256:\w+)", found[1])
    raise SystemExit(f"no lock file names django {version}: install what it names, by scripts/install")


def _settings(location: str, options: Mapping[str, Any]) -> None:
    from django.conf import settings  # noqa: PLC0415 - it is configured here

    settings.configure(
        CACHES={"default": _backend(location, options)},
        DATABASES={name: _sqlite() for name in ("default", "other")},
        INSTALLED_APPS=[
            *("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"),
            *("django.contrib.sites", "cache", "sessions_tests"),
        ],
        SECRET_KEY="a secret of these tests",  # noqa: S106 - guards nothing
        SITE_ID=1,
        LANGUAGE_CODE="en",
        USE_TZ=False,
        ROOT_URLCONF=(),
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        MIGRATION_MODULES=dict.fromkeys(("auth", "contenttypes", "sessions")),
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    )


def _sqlite() -> dict[str, str]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}


def _backend(location: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "BACKEND": "origin_sdk.layers.django.LayeredBackend",
        "LOCATION": location,
        "OPTIONS": {"REDIS": {"timeout": 2.0}, **options} if location else dict(options),
    }


def _suites(location: str, options: Mapping[str, Any]) -> Iterator[type]:
    """Yield Django's test cases, with our backend where they have another."""
    from cache import tests as of_caches  # type: ignore[import-not-found]  # noqa: PLC0415 - Django's tests
    from django.test import TestCase, override_settings  # noqa: PLC0415 - once it is configured
    from sessions_tests import tests as of_sessions  # type: ignore[import-not-found]  # noqa: PLC0415 - see above

    base = _backend(location, options)

    def ours(setting: Mapping[str, Any]) -> dict[str, Any]:
        # Where a test sets a LOCATION of its own, it wants a cache of its own: a prefix is that.
        made = {}
        for name, each in setting.items():
            own = {key: value for key, value in each.items() if key not in {"BACKEND", "LOCATION", "OPTIONS"}}
            if each.get("LOCATION"):
                own.setdefault("KEY_PREFIX", str(each["LOCATION"]))
            made[name] = {**base, **own}
        return made

    all_kinds = ours({name: {**each} for name, each in of_caches._caches_setting_base.items()})  # noqa: SLF001 - Django's own

    @override_settings(CACHES=all_kinds)
    class LayeredCacheTests(of_caches.BaseCacheTests, TestCase):  # type: ignore[misc]  # Django has no types
        """Django's contract of a backend."""

    yield LayeredCacheTests
    for suite in (*_cases(of_caches), *_cases(of_sessions)):
        changed = getattr(suite, "_overridden_settings", None) or {}
        if "CACHES" in changed:
            yield override_settings(CACHES=ours(changed["CACHES"]))(type(suite.__name__, (suite,), {}))
        elif suite.__name__ in _OVER_DEFAULT:
            yield suite


_OVER_DEFAULT = frozenset({"CacheDBSessionTests", "CacheSessionTests", "SessionMiddlewareTests"})
_OF_OTHER_BACKENDS = re.compile(
    "Dummy|DBCache|LocMem|Memcache|PyLib|FileBased|RedisCache|CustomCacheKey|Closing"
)


def _cases(module: Any) -> Iterator[type[unittest.TestCase]]:
    for each in vars(module).values():
        is_case = isinstance(each, type) and issubclass(each, unittest.TestCase)
        if is_case and each.__module__ == module.__name__ and not _OF_OTHER_BACKENDS.search(each.__name__):
            yield each


def _run(way: str, location: str, names: Sequence[str]) -> int:
    """Run all in this process; return the exit code."""
    sys.path.insert(0, str(source()))
    options = {"MEMORY_SECONDS": 60} if way == "redis and memory" else {}
    _settings(location, options)
    import django  # noqa: PLC0415 - it has to be configured first
    from django.test.runner import DiscoverRunner  # noqa: PLC0415 - see above

    django.setup()
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in names] or None
    tests = unittest.TestSuite(loader.loadTestsFromTestCase(each) for each in _suites(location, options))
    runner = DiscoverRunner(verbosity=0, interactive=False)
    runner.setup_test_environment()
    databases = runner.setup_databases()
    result = unittest.TextTestRunner(stream=open(os.devnull, "w"), verbosity=0).run(tests)  # noqa: SIM115, PTH123 - ends with the process
    runner.teardown_databases(databases)
    failed = {case.id().split(".", 2)[-1]: told for case, told in (*result.failures, *result.errors)}
    wrong = {name: told for name, told in failed.items() if name.rpartition(".")[2] not in NOT_SO}
    missing = set() if names else NOT_SO.keys() - {name.rpartition(".")[2] for name in failed}
    print(
        f"{way}: {result.testsRun} of Django {django.get_version()}'s tests, {len(result.skipped)} skipped, "
        f"{len(failed) - len(wrong)} that are known not to hold, {len(wrong)} failures",
        flush=True,
    )
    for name, told in wrong.items():
        print(f"\n{name}\n{told}")
    if missing:
        print(f"known not to hold, and do: {sorted(missing)}")
    return 1 if wrong or missing else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run each way in a process of its own, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/django-suite", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", action="store_true", help="in memory alone, which takes seconds")
    parser.add_argument("-k", action="append", default=[], metavar="NAME", help="only tests of this name")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.run:
        way, location = given.run
        return _run(way, location, given.k)
    source()
    code = 0
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        for way in WAYS[-1:] if given.memory else WAYS:
            with server.client() as client:
                client.flushall()
            url = "" if way == "memory" else server.url
            picked = [word for name in given.k for word in ("-k", name)]
            command = (sys.executable, "-m", "scripts.runtime.django_suite", "--run", way, url, *picked)
            code = subprocess.run(command, cwd=ROOT, check=False).returncode or code  # noqa: S603 - see above
    return code


if __name__ == "__main__":
    sys.exit(main())
