"""One process of a crowd: fifty tasks want one cold key. Says how often it loaded."""

import asyncio
import sys

from origin_sdk.layers import AsyncLayeredCache, Family, RedisOptions
from tests.layers.servers import PATIENT_SECONDS


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(url: str, prefix: str) -> None:
    family = Family("hot", "{id}", int)
    loads = 0

    async def load(_: object) -> int:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.3)  # what others wait for
        return 5

    async with AsyncLayeredCache(RedisOptions(url=url, prefix=prefix, timeout=PATIENT_SECONDS)) as cache:
        assert await asyncio.to_thread(cache.wait_until_synced)
        say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        values = await asyncio.gather(*(cache.get_or_load(family.key(id=1), load) for _ in range(50)))
    assert values == [5] * 50
    say(str(loads))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
