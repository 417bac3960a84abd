"""The chaos's tables: hashes and sorted sets of versions, whose parts are written through."""

from __future__ import annotations

import random  # noqa: TID251 - chance is what this is about
from collections.abc import Callable, Sequence
from typing import Any

from origin_sdk.layers import Family, LayeredCache, Policy

__all__ = ["Tables"]

_SIZE = 4
_LASTING = Policy(lifetime=600.0, jitter=0.0)
_Source = Callable[[int], int]


class Tables:
    """Versions of four items each, by their numbers: fields of a hash, or scores of a sorted set."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache
        self.is_possible = hasattr(LayeredCache, "fields")  # not in code of before, which --code brings
        if self.is_possible:
            groups = ("table-{number}",)
            self._hash = Family(
                "table", "{number}", dict[str, int], groups=groups, policy=_LASTING, kept_as="hash"
            )
            self._ranking = Family(
                "rank", "{number}", dict[str, float], groups=groups, policy=_LASTING, kept_as="sorted-set"
            )

    def items(self, page: int) -> range:
        """Return the items of a table."""
        return range(page * _SIZE, (page + 1) * _SIZE)

    def write(self, item: int, version: int) -> bool:
        """Write an item through; say whether Redis has it."""
        page = item // _SIZE
        if page % 2:
            ranking = self._ranking.key(number=page)
            self._cache.ranking(ranking).set(str(item), float(version))
            name = ranking.name
        else:
            fields = self._hash.key(number=page)
            self._cache.fields(fields).set(str(item), version)
            name = fields.name
        return not any(name in names for names in list(self._cache.link.owed.values()))

    def group_of(self, item: int) -> str:
        """Return the group by which an item's table is invalidated."""
        return f"table-{item // _SIZE}"

    def read(self, page: int, source: _Source, chance: random.Random) -> tuple[Sequence[int], list[int]]:
        """Return items of a table, and the versions of them that are read: one, some, or all."""
        items = self.items(page)

        def load(_: object) -> dict[str, Any]:
            made = int if page % 2 == 0 else float
            return {str(item): made(source(item)) for item in items}

        chosen = chance.sample(items, chance.choice((1, 2, _SIZE)))
        if page % 2 == 0:
            found = self._cache.fields(self._hash.key(number=page), load).get_many(map(str, chosen))
        elif len(chosen) == _SIZE:
            found = dict(self._cache.ranking(self._ranking.key(number=page), load).page(0, _SIZE))
        else:
            found = self._cache.ranking(self._ranking.key(number=page), load).scores(map(str, chosen))
        return chosen, [int(found[str(item)]) for item in chosen]
