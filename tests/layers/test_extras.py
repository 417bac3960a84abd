"""Without its packages the layered cache names the extra; memory alone does without Redis's package."""

import subprocess
import sys

import pytest

from scripts.runtime import paths

WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""
ALONE = """
import asyncio
from origin_sdk.layers import AsyncLayeredCache, Family, InvalidSettings, LayeredCache, RedisOptions
family = Family("number", "{id}", int, groups=("all",))
with LayeredCache() as cache:
    assert cache.cached(family)(lambda id: id)(17) == 17
    assert cache.get_many_or_load([family.key(id=1)], lambda keys: dict.fromkeys(keys, 1))
    cache.invalidate(groups=["all"])
    assert not cache.wait_until_synced(0)
async def use():
    async with AsyncLayeredCache() as cache:
        async def load(_):
            return 18
        assert await cache.get_or_load(family.key(id=18), load) == 18
        await cache.delete(family.key(id=18))
asyncio.run(use())
assert "redis" not in sys.modules
for make in (lambda: RedisOptions(url="redis://localhost"), lambda: LayeredCache("redis://localhost")):
    try:
        make()
    except InvalidSettings as error:
        assert "origin-sdk[layers]" in str(error), error
    else:
        raise AssertionError("no error")
"""
NONE_AT_ALL = """
try:
    import origin_sdk.layers
except ModuleNotFoundError as error:
    assert "origin-sdk[layers]" in str(error), error
else:
    raise AssertionError("no error")
"""


@pytest.mark.parametrize(("missing", "code"), [("redis", ALONE), ("msgspec", NONE_AT_ALL)])
def test_a_missing_package_is_known_by_its_extra(missing: str, code: str) -> None:
    program = WITHOUT.format(missing=missing) + code
    ran = subprocess.run(
        (sys.executable, "-c", program),
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.stderr == ""
