"""One process of a circle: the loader of its node asks for the next one. Says what came of it."""

import asyncio
import sys
from typing import Any

from origin_sdk.layers import AsyncLayeredCache, Family, LayeredCache, LoadCycle, RedisOptions
from tests.layers.servers import PATIENT_SECONDS

FAMILY = Family("node", "{id}", str)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def wait() -> None:
    say("loading")
    sys.stdin.readline()


def in_threads(options: RedisOptions, own: str, following: str, way: str) -> str:
    with LayeredCache(options) as cache:
        assert cache.wait_until_synced(20)

        def get(node: str, load: Any) -> str:
            key = FAMILY.key(id=node)
            if way == "many":
                return str(cache.get_many_or_load([key], lambda keys: dict.fromkeys(keys, load()))[key])
            return str(cache.get_or_load(key, lambda _: load()))

        def load() -> str:
            wait()
            return get(following, lambda: "not asked for")

        return get(own, load)


async def in_a_loop(options: RedisOptions, own: str, following: str) -> str:
    async with AsyncLayeredCache(options) as cache:
        assert await asyncio.to_thread(cache.wait_until_synced, 20)

        async def not_asked_for(_: object) -> str:
            return "not asked for"

        async def load(_: object) -> str:
            await asyncio.to_thread(wait)
            return await cache.get_or_load(FAMILY.key(id=following), not_asked_for)

        return await cache.get_or_load(FAMILY.key(id=own), load)


def main(url: str, prefix: str, own: str, following: str, way: str) -> None:
    options = RedisOptions(url=url, prefix=prefix, timeout=PATIENT_SECONDS)
    try:
        if way == "loop":
            say(asyncio.run(in_a_loop(options, own, following)))
        else:
            say(in_threads(options, own, following, way))
    except LoadCycle as error:
        say(f"LoadCycle: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
