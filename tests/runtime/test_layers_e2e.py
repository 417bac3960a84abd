"""One invalidation through all layers: another process's memory, Redis, and the running Worker."""

from __future__ import annotations

from pathlib import Path

from origin_sdk import PurgeClient, Settings
from origin_sdk.layers import Family, LayeredCache, RedisOptions
from scripts.runtime.wrangler import Wrangler
from tests.layers.servers import RedisServer
from tests.layers.test_breakdowns import eventually
from tests.runtime.client import ask
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.replies import reply

MARK_INTERVAL = 1.0
FAMILY = Family("product", "{id}", str, groups=("product-{id}",))
KEY = FAMILY.key(id=17)


def test_one_call_empties_every_layer(running_origin: ScriptedOrigin, tmp_path: Path) -> None:
    origin = running_origin
    variables = {"ORIGIN": origin.url, "MARK_INTERVAL": str(MARK_INTERVAL)}
    with (
        RedisServer(tmp_path / "redis") as server,
        Wrangler(tmp_path / "edge", variables=variables) as worker,
        PurgeClient(_settings(worker)) as client,
        LayeredCache(RedisOptions(url=server.url, timeout=2), edge=client) as ours,
        LayeredCache(RedisOptions(url=server.url, timeout=2)) as others,
    ):
        assert ours.wait_until_synced()
        assert others.wait_until_synced()

        def stored_at_the_edge(text: bytes) -> bool:
            response = ask(worker.url, "/products/17")
            return "; hit" in (response.value("cache-status") or "") and response.body == text

        fields = [("Cache-Control", "max-age=600"), ("Cache-Groups", '"product-17"')]
        origin.on("/products/17", reply(200, fields, b"old"))
        assert others.get_or_load(KEY, lambda _: "old") == "old"
        assert ours.get(KEY) == "old"
        eventually(lambda: stored_at_the_edge(b"old"))

        origin.on("/products/17", reply(200, fields, b"new"))
        receipt = ours.invalidate(groups=["product-17"])

        assert receipt.in_redis
        assert receipt.edge.marks
        assert ours.get(KEY) is None
        eventually(lambda: others.memory.get(KEY.name) is None or others.get(KEY) is None, 2)
        others.memory.clear()
        assert others.get(KEY) is None
        eventually(lambda: stored_at_the_edge(b"new"), MARK_INTERVAL + 5)


def _settings(worker: Wrangler) -> Settings:
    base, _, namespace = worker.kv_url().partition("/storage/kv/namespaces/")
    return Settings(base_url=base, namespace_id=namespace, mark_interval=MARK_INTERVAL)
