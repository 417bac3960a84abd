"""Real Redis for tests, where scripts that start it find it, too."""

from scripts.runtime.ports import reserved_ports
from scripts.runtime.redis_servers import (
    ClusterOfSix,
    RedisServer,
    SentinelSet,
)
from scripts.runtime.shifted_clock import ShiftedClock

PATIENT_SECONDS = 10.0
"""The time that Redis has to answer where a test isn't about time: what comes later isn't what it expects."""

__all__ = ["PATIENT_SECONDS", "ClusterOfSix", "RedisServer", "SentinelSet", "ShiftedClock", "reserved_ports"]
