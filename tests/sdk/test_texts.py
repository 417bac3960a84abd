"""Wherever groups are given, one text or several will do, and what is neither is refused alike."""

from collections.abc import Callable

import pytest

from origin_sdk import InvalidRequest, NullPurgeClient
from origin_sdk._values.targets import Purge
from origin_sdk.layers import Family, LayeredCache, LoadContext

CACHE = LayeredCache()
KEY = Family("text", "{id}", str).key(id=1)


def family(groups: object) -> object:
    return Family("family", "{id}", str, groups=groups)  # type: ignore[call-overload]  # what callers may get wrong


def str_of(id: int) -> str:  # noqa: A002 - the name in the key
    return str(id)


def cached(groups: object) -> object:
    return CACHE.cached("{id}", name="cached", groups=groups)(str_of)  # type: ignore[arg-type]


def purge(groups: object) -> object:
    with NullPurgeClient() as client:
        return client.purge(groups=groups)  # type: ignore[arg-type]  # see above


TAKERS: dict[str, Callable[[object], object]] = {
    "LayeredCache.invalidate": lambda groups: CACHE.invalidate(groups=groups),  # type: ignore[arg-type]  # see above
    "LayeredCache.set": lambda groups: CACHE.set(KEY, "a", groups=groups),  # type: ignore[arg-type]  # see above
    "LoadContext.add_groups": lambda groups: LoadContext(KEY).add_groups(groups),  # type: ignore[arg-type]  # see above
    "Family": family,
    "cached": cached,
    "PurgeClient.purge": purge,
    "Purge.of": lambda groups: Purge.of(groups=groups),  # type: ignore[arg-type]  # see above
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS.keys())
def test_one_text_or_several(take: Callable[[object], object]) -> None:
    for groups in ("group", ["group"], ("group",), {"group"}, iter(["group"])):
        take(groups)


@pytest.mark.parametrize("groups", [17, None], ids=str)
@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS.keys())
def test_what_is_neither_is_refused(take: Callable[[object], object], groups: object) -> None:
    with pytest.raises(InvalidRequest, match="a text is needed"):
        take(groups)


@pytest.mark.parametrize("groups", [b"group", [17], [None]], ids=str)
@pytest.mark.parametrize("name", ["LayeredCache.invalidate", "Family", "PurgeClient.purge", "Purge.of"])
def test_what_is_no_text_is_refused(name: str, groups: object) -> None:
    with pytest.raises(InvalidRequest, match="text is needed"):
        TAKERS[name](groups)
