"""The wire contract between the edge Worker and the origin SDK.

Everything that both sides must agree on to the letter: how a request target becomes a KV key
(:mod:`origin_sdk_wire.key`), what a purge mark is called and holds (:mod:`origin_sdk_wire.marks`), how a
stored response is laid out (:mod:`origin_sdk_wire.record`), which rule applies to a request and what it
puts into the key (:mod:`origin_sdk_wire.rules`), what the purge log holds (:mod:`origin_sdk_wire.purge_log`)
and whom it listens to (:mod:`origin_sdk_wire.signed_requests`), the structured fields both sides read
(:mod:`origin_sdk_wire.structured`), and what a configuration of the Worker means and what is wrong with it
(:mod:`origin_sdk_wire.config`).

Pure functions and frozen values; the standard library only.

Versions: every KV key begins with its kind and version (``r1/``, ``b1/``, ``m2/``). A change that an older
reader could misread takes the next number, so that a Worker and an SDK of different age never see each
other's keys.
"""

from origin_sdk_wire.errors import WireError

__all__ = ["WIRE_VERSION", "WireError"]

WIRE_VERSION = 1
