"""One process of a crowd: fifty tasks want twenty cold keys, in orders of their own. Says what it loaded."""

import asyncio
import sys
from collections.abc import Mapping, Sequence

from origin_sdk.layers import AsyncLayeredCache, Family, Key, RedisOptions
from tests.layers.crowd import say
from tests.layers.servers import PATIENT_SECONDS

FAMILY = Family("hot", "{id}", int)
KEYS = {FAMILY.key(id=number): number for number in range(20)}


async def main(url: str, prefix: str) -> None:
    loaded: list[int] = []

    async def load(keys: Sequence[Key[int]]) -> Mapping[Key[int], int]:
        loaded.extend(KEYS[key] for key in keys)
        await asyncio.sleep(0.3)  # what others wait for
        return {key: KEYS[key] for key in keys}

    async def call(number: int) -> Mapping[Key[int], int]:
        keys = sorted(KEYS, key=lambda key: KEYS[key] * (number + 1) % 23)
        return await cache.get_many_or_load(keys, load)

    async with AsyncLayeredCache(RedisOptions(url=url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache:
        assert await asyncio.to_thread(cache.wait_until_synced)
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        tasks = [asyncio.create_task(call(number)) for number in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::10]:
            task.cancel()
        values = await asyncio.gather(*tasks, return_exceptions=True)
    assert [value for value in values if value == KEYS] == [KEYS] * 45
    say(" ".join(map(str, loaded)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
