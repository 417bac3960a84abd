"""What isn't of the type that is asked for is named with its remedy, where it is declared."""

from typing import Any

import pytest

from origin_sdk import OriginSdkError
from origin_sdk.layers import AsyncLayeredCache, Family, LayeredCache, RedisOptions, UnstableKey
from tests.layers.caches import make

URL = "redis://127.0.0.1:1"


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (Family, {"name": 17, "key": "{id}"}, "family 17: its name has to be a text"),
        (Family, {"name": "x", "key": 17}, "key 17: a text such as"),
        (Family, {"name": "x", "key": None}, "key None: a text such as"),
        (Family, {"name": "x", "key": "{id}", "schema": "1"}, "schema is '1': int is needed"),
        (Family, {"name": "x", "key": "{id}", "data_class": "public"}, "DataClass is needed"),
        (Family, {"name": "x", "key": "{id}", "policy": 60}, "policy is 60: Policy is needed"),
        (Family, {"name": "x", "key": "{id}", "groups": 17}, "17: a text is needed"),
        *(
            (RedisOptions, {"url": URL, name: value}, f"{name} of RedisOptions is {value!r}")
            for name, value in [
                ("url", 17),
                ("url", None),
                ("prefix", 17),
                ("timeout", "0.05"),
                ("max_connections", "64"),
                ("horizon", None),
                ("shards", "16"),
                ("wait_replicas", 1.5),
                ("arguments", "ssl_ca_certs"),
            ]
        ),
        *((cache, {"redis": 17}, "redis is 17: a URL") for cache in (LayeredCache, AsyncLayeredCache)),
        *((cache, {"policy": 60}, "policy is 60") for cache in (LayeredCache, AsyncLayeredCache)),
    ],
)
def test_what_is_of_another_type_is_named_with_its_remedy(
    make: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(OriginSdkError) as raised:
        make(**arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize("key", ["text", 17, None])
@pytest.mark.parametrize(
    "use",
    [
        lambda cache, key: cache.get(key),
        lambda cache, key: cache.get_or_load(key, lambda _: "loaded"),
        lambda cache, key: cache.refresh(key, lambda _: "loaded"),
        lambda cache, key: cache.set(key, "value"),
        lambda cache, key: cache.delete(key),
    ],
    ids=["get", "get_or_load", "refresh", "set", "delete"],
)
@pytest.mark.parametrize("driver", ["sync", "async"])
def test_what_is_no_key_is_named_with_its_remedy(driver: str, use: Any, key: object) -> None:
    with make(driver) as cache, pytest.raises(UnstableKey, match=r"isn't a key: family\.key"):
        use(cache, key)
