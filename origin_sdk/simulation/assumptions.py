"""What a simulation takes for granted, since no access log holds it; every report prints it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from origin_sdk._values.errors import InvalidRequest
from origin_sdk_wire.bounds import KV_PROPAGATION_SECONDS
from origin_sdk_wire.key import Target
from origin_sdk_wire.rules import KeyRule

__all__ = ["Assumptions", "ResponseFields", "parse_region", "parse_response_fields"]


@dataclass(frozen=True, slots=True)
class ResponseFields:
    """Fields that responses under some paths have: what ``PATH Field: value`` says."""

    rule: KeyRule
    name: str
    value: str

    def applies_to(self, target: Target) -> bool:
        """Whether a response to a request for ``target`` has the field."""
        return self.rule.matches("GET", target)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Where requests arrive and what the log leaves out.

    A client's requests all come to one location, which its address decides, and there to any of the isolates,
    each of which lives for ``isolate_minutes``.
    """

    locations: int = 1
    isolates: int = 1
    """At each location, at any time."""
    isolate_minutes: float = 15.0
    kv_seconds: float = KV_PROPAGATION_SECONDS
    """For how long a location goes on with what it last read of a key in KV."""
    origin_ms: float = 50.0
    """What the origin takes for an answer, where the log doesn't say."""
    base_url: str = "https://localhost"
    """Scheme and host of requests of which the log tells only the path."""
    purge_log: bool = False
    """Whether purges are read from a log, so that a hit reads no marks."""
    shield: bool = False
    """Whether misses go through a shield, which lies where the origin does."""
    regions: Mapping[str, float] = field(default_factory=dict)
    """How far the origin is from locations, there and back in milliseconds: they are shared out evenly."""
    responses: Sequence[ResponseFields] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("locations", "isolates", "isolate_minutes"):
            if not 0 < getattr(self, name) < inf:
                raise InvalidRequest(f"{name} = {getattr(self, name)}: give a number above 0")
        if not 0 <= self.origin_ms < inf:
            raise InvalidRequest(f"origin_ms = {self.origin_ms}: give milliseconds, 0 or more")

    def told(self) -> Mapping[str, object]:
        """Return them as a report prints them."""
        return {
            "locations": self.locations,
            "isolates at a location": self.isolates,
            "life of an isolate": f"{self.isolate_minutes:g} min",
            "KV seen elsewhere after": f"{self.kv_seconds:g} s",
            "origin, where not logged": f"{self.origin_ms:g} ms",
            "host, where not logged": self.base_url,
            "purge log": "yes" if self.purge_log else "no",
            **{f"from {name} to the origin and back": f"{ms:g} ms" for name, ms in self.regions.items()},
            **{f"{each.rule.paths[0]} {each.name}": each.value for each in self.responses},
        }


def parse_region(text: str) -> tuple[str, float]:
    """Read ``NAME=MS``, such as ``asia=220``; raises :class:`InvalidRequest`."""
    name, _, number = text.partition("=")
    try:
        away_ms = float(number)
    except ValueError:
        away_ms = -1.0
    if not name.strip() or not 0 <= away_ms < inf:
        raise InvalidRequest(f"--region {text!r}: write a name and milliseconds, such as asia=220")
    return name.strip(), away_ms


def parse_response_fields(text: str) -> ResponseFields:
    """Read ``PATH Field: value``, such as ``/products/** Cache-Control: max-age=60``.

    Raises :class:`InvalidRequest`.
    """
    path, _, rest = text.strip().partition(" ")
    name, separator, value = rest.partition(":")
    if not path.startswith(("/", "*")) or not separator or not name.strip() or not value.strip():
        raise InvalidRequest(
            f"--response {text!r}: write a path pattern and a field, "
            "such as '/products/** Cache-Control: max-age=60'"
        )
    return ResponseFields(KeyRule(paths=(path,)), name.strip().lower(), value.strip())
