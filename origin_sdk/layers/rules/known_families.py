"""The families of values that a cache knows: which policy is theirs, and how far their values may go."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from origin_sdk._values.errors import DataClassViolation
from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.redis.commands import Command, Reply
from origin_sdk.layers.redis.link import Link
from origin_sdk.layers.redis.lua import Script
from origin_sdk.layers.redis.structure_scripts import OF_STRUCTURES
from origin_sdk.layers.values.envelope import Wrapping
from origin_sdk.layers.values.families import AnyFamily, AnyKey, DataClass, no_key
from origin_sdk.layers.values.policy import Policy, Windows

__all__ = ["NO_READING", "KnownFamilies", "Reading"]

Reading: TypeAlias = tuple[bytes, Callable[[bytes], Any], Windows | None]
"""The head of plain records, what decodes those, and the windows where all of a family have the same."""
NO_READING: Reading = (b"", bytes, None)
_MOST_READINGS = 1024


class KnownFamilies:
    """What families declare, beside what the cache has for all: a policy, a seal, Redis or none."""

    def __init__(self, policy: Policy, wrapping: Wrapping, link: Link | None) -> None:
        self.default_policy = policy
        self.wrapping = wrapping
        self.link = link
        self.by_prefix: dict[str, AnyFamily] = {}
        """By the beginning of their keys."""
        self.has_structures = False
        """Whether any of these is kept as a structure."""
        self._readings: dict[AnyFamily, Reading] = {}

    def policy_of(self, family: AnyFamily) -> Policy:
        """Return a family's own policy, or the cache's."""
        return family.policy or self.default_policy

    def policy(self, key: AnyKey) -> Policy:
        """Return the policy that applies. Raises DataClassViolation for what must never be cached."""
        try:
            family = key.family
        except AttributeError as error:
            raise no_key(key) from error
        if self.by_prefix.get(family.prefix) is not family:  # what know() says, without a call on every hit
            self.know(family)
        if family.data_class is DataClass.NEVER:
            raise DataClassViolation(f"family {family.name}: its data class says that it is never cached")
        return family.policy or self.default_policy  # as policy_of() does

    def know(self, family: AnyFamily) -> None:
        """Raise InvalidFamily if another family has the name of this one, and means something else."""
        known = self.by_prefix.get(family.prefix)
        if known is family:
            return
        if known is None:
            if self.policy_of(family).values == "frozen":
                family.typed.require_unchangeable(family.name)
            self.has_structures = self.has_structures or family.shape is not None
            self.by_prefix[family.prefix] = family
        elif not known.agrees_with(family):
            raise InvalidFamily(
                f"two families are called {family.name!r} and differ in {_difference(known, family)}: "
                "give one of them another name=…, or another schema=…"
            )

    def reaches_redis(self, family: AnyFamily) -> bool:
        """Whether a family's values may go to Redis at all."""
        if self.link is None:
            return False
        seal = self.wrapping.seal
        return family.data_class is not DataClass.RESTRICTED or (seal is not None and seal.hides)

    def keeps_parts(self, family: AnyFamily) -> bool:
        """Whether Redis keeps a family's values so that their parts can be asked for."""
        return family.shape is not None and self.wrapping.seal is None and self.reaches_redis(family)

    def shaped(self, key: AnyKey, command: Command[Reply]) -> Command[Reply]:
        """Return a command of a whole value as it is for a key's family: structures lie otherwise."""
        if command.script is None or not (part_keys := self.part_keys(key)):
            return command
        script = self.script_for(command.script, key.family)
        return replace(command, script=script, keys=(*command.keys, *part_keys))

    def script_for(self, script: Script, family: AnyFamily) -> Script:
        """Return a script of whole values as it is for a family."""
        return OF_STRUCTURES[script] if self.keeps_parts(family) else script

    def part_keys(self, key: AnyKey) -> tuple[str, ...]:
        """Return the keys of Redis that a value lies in besides its record."""
        if self.link is None or not self.keeps_parts(key.family):
            return ()
        layout = self.link.layout
        return layout.keys(layout.shard(key.name), "s", key.name)

    def seals(self, family: AnyFamily) -> bool:
        """Whether a family's records in Redis are sealed, and so have to have their births before."""
        return self.wrapping.seal is not None and self.reaches_redis(family)

    def reading(self, family: AnyFamily) -> Reading:
        """Return what reading has to know of a family."""
        reading = self._readings.get(family)
        if reading is None:
            policy = self.policy_of(family)
            if len(self._readings) >= _MOST_READINGS:
                self._readings.clear()
            # What is handed out as copies is made ready for that, which takes the longer way.
            windows = None if policy.values == "copied" else policy.windows_of_all
            reading = self._readings[family] = (*self.wrapping.plain(family), windows)
        return reading


def _difference(one: AnyFamily, other: AnyFamily) -> str:
    names = ("maker", "template", "type", "identity", "data_class", "kept_as")
    differing = [name for name in names if getattr(one, name) != getattr(other, name)]
    return ", ".join(f"{name} ({getattr(one, name)!r}, {getattr(other, name)!r})" for name in differing)
