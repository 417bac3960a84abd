"""Real Redis for tests, where scripts that start it find it, too."""

from scripts.runtime.ports import reserved_ports
from scripts.runtime.redis_servers import (
    ClusterOfSix,
    RedisServer,
    SentinelSet,
    ShiftedClock,
)

__all__ = ["ClusterOfSix", "RedisServer", "SentinelSet", "ShiftedClock", "reserved_ports"]
