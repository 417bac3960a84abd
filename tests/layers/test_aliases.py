"""A type is what its name stands for: `type X = …`, as Python 3.12 and later have it, and NewType."""

from dataclasses import dataclass
from typing import Any, NewType, TypeVar

import pydantic
import pytest
from typing_extensions import TypeAliasType

from origin_sdk.layers import Family, InvalidFamily, LayeredCache, Policy
from origin_sdk.layers.values.aliases import unaliased
from origin_sdk.layers.values.serialization import typed


class Model(pydantic.BaseModel):
    x: int


T = TypeVar("T")
Alias = TypeAliasType("Alias", Model)
Again = TypeAliasType("Again", Alias)
Listed = TypeAliasType("Listed", list[T], type_params=(T,))
Frozen = TypeAliasType("Frozen", frozenset[int])
New = NewType("New", Model)
NewOfAlias = NewType("NewOfAlias", Frozen)


@dataclass
class Holder:
    model: Alias


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        (Again, Model),
        (New, Model),
        (Listed[int], list[int]),
        (NewOfAlias, frozenset[int]),
        (list[Alias], None),
    ],
)
def test_names_are_followed(kind: Any, meant: Any) -> None:
    assert unaliased(kind) == (kind if meant is None else meant)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(Again, Model(x=1), id="a model"),
        pytest.param(New, Model(x=1), id="a NewType of a model"),
        pytest.param(Holder, Holder(Model(x=1)), id="a dataclass of one"),
        pytest.param(dict[str, Again | None], {"a": Model(x=1), "b": None}, id="a dict of some"),
    ],
)
def test_models_behind_a_name_come_back_as_themselves(kind: Any, value: object) -> None:
    number, data = typed(kind).encode(value, 2)
    assert typed(kind).forms[number].decode(data) == value


def test_what_is_behind_a_name_can_be_kept_as_a_structure_and_frozen() -> None:
    with LayeredCache(policy=Policy(values="frozen")) as cache:
        cache.register(Family("numbers", "{id}", Frozen, kept_as="set"))
        with pytest.raises(InvalidFamily, match="can be changed"):
            cache.register(Family("lists", "{id}", Listed[int], kept_as="sorted-set"))
