"""Families of keys: what is declared once for all values of a kind."""

import builtins
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar, Unpack, overload

from origin_sdk._values.texts import texts
from origin_sdk.layers.errors import InvalidFamily, UnstableKey
from origin_sdk.layers.values.keys import Template, group_name, render
from origin_sdk.layers.values.policy import Policy
from origin_sdk.layers.values.serialization import Typed, typed
from origin_sdk.layers.values.shapes import AnyShape, KeptAs, shape_of

__all__ = ["AnyFamily", "AnyKey", "DataClass", "Family", "FamilyDetails", "Key", "no_key"]

Value = TypeVar("Value")


class DataClass(Enum):
    """How far a family's values may go."""

    PUBLIC = "public"
    """Everywhere, the edge included."""
    CENTRAL = "central"
    """Memory and Redis."""
    RESTRICTED = "restricted"
    """Memory; Redis only if the cache encrypts."""
    NEVER = "never"
    """Nowhere: an attempt to cache is an error."""

    @property
    def strictness(self) -> int:
        """0 for what may go everywhere, and the more the less far it may go."""
        return list(DataClass).index(self)


@dataclass(slots=True, eq=False)
class Key(Generic[Value]):
    """The name of one value, and the groups that it belongs to before its loader adds some.

    Keys of one name are equal.
    """

    name: str
    family: "Family[Value]"
    groups: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


AnyKey: TypeAlias = Key[Any]
"""A key, whatever its values are: they pass through the rules unseen."""


class FamilyDetails(TypedDict, total=False):
    """What a family says beside its name, key and type.

    ``groups`` are templates over the key's names; ``identity`` names those that stand for a user. Raise
    ``schema`` when the type changes its meaning. Without a ``policy`` the cache's applies. Redis keeps a
    value as a whole, or as a ``hash``, a ``set`` or a ``sorted-set``, whose parts are read and written alone.
    """

    groups: Iterable[str]
    identity: Iterable[str]
    schema: int
    data_class: DataClass
    policy: Policy
    kept_as: KeptAs


class Family(Generic[Value]):
    """Values of one kind.

    ``key`` is a template such as ``"{tenant}:{product_id}"`` or a frozen dataclass. ``type`` is what values
    are, so that a dataclass comes back as itself.
    """

    @overload
    def __init__(
        self,
        name: str,
        key: str | builtins.type,
        type: builtins.type[Value],
        **details: Unpack[FamilyDetails],
    ) -> None: ...
    @overload
    def __init__(
        self: "Family[Any]",
        name: str,
        key: str | builtins.type,
        type: Any = ...,
        **details: Unpack[FamilyDetails],
    ) -> None: ...
    def __init__(
        self,
        name: str,
        key: str | builtins.type,
        type: Any = Any,  # noqa: A002 - the word for it
        **details: Unpack[FamilyDetails],
    ) -> None:
        _check_types(name, key, details)
        self.name = name
        self.type = type
        self.identity = texts(details.get("identity", ()))
        self.schema = details.get("schema", 1)
        self.data_class = details.get("data_class", DataClass.CENTRAL)
        self.strictness = self.data_class.strictness
        self.policy = details.get("policy")
        self.kept_as = details.get("kept_as", "value")
        self.maker = ""
        """The function that a decorator made it for."""
        self.template = key if isinstance(key, str) else _template(key)
        self._key_class = None if isinstance(key, str) else key
        template = Template(self.template).separated()
        self.fields = template.names
        self._check()
        self.typed, self.shape = self._typed()
        self.prefix = f"{name}.v{self.schema}:"
        self.render = template.renderer(self.fields, self.prefix, render, self.identity)
        self._groups = [
            self._group(text).renderer(self.fields, "", _plain) for text in texts(details.get("groups", ()))
        ]

    def _check(self) -> None:
        if not self.name.replace("-", "_").isidentifier():
            raise InvalidFamily(
                f"family {self.name!r}: letters, digits, - and _ are needed, not a digit first"
            )
        if not 0 < self.schema < 1 << 16:
            raise InvalidFamily(
                f"family {self.name}: schema is {self.schema}: a number from 1 to 65535 is needed"
            )
        if unknown := set(self.identity) - set(self.fields):
            raise InvalidFamily(
                f"family {self.name}: identity {sorted(unknown)} isn't in the key {self.template!r}"
            )
        if self.identity and self.data_class is DataClass.PUBLIC:
            raise InvalidFamily(
                f"family {self.name}: a public value can't depend on an identity; say CENTRAL"
            )

    def _typed(self) -> tuple[Typed, AnyShape | None]:
        try:
            return typed(self.type), shape_of(self.kept_as, self.type)
        except InvalidFamily as error:
            raise InvalidFamily(f"family {self.name}: {error}") from error

    def _group(self, text: str) -> Template:
        template = Template(text)
        if unknown := set(template.names) - set(self.fields):
            raise InvalidFamily(
                f"family {self.name}: group {text!r} names {sorted(unknown)}, which the key hasn't"
            )
        return template

    def key(self, *instance: object, **values: object) -> Key[Value]:
        """Return the key of these values, or of an instance of the key class."""
        if instance:
            values = self._values_of(instance)
        if values.keys() != set(self.fields):
            raise UnstableKey(f"family {self.name}: the key needs {self.fields}, not {tuple(values)}")
        return self.key_of(tuple(values[name] for name in self.fields))

    def key_of(self, values: tuple[object, ...]) -> Key[Value]:
        """Return the key of values in the order of ``fields``."""
        groups = [group(*values) for group in self._groups]
        return Key(self.render(*values), self, tuple([group for group in groups if group]))

    def _values_of(self, instance: tuple[object, ...]) -> dict[str, object]:
        if self._key_class is None:
            wanted = ", ".join(f"{name}=…" for name in self.fields)
            raise UnstableKey(f"family {self.name}: key({wanted}) is needed, not {instance!r}")
        if len(instance) > 1 or not isinstance(instance[0], self._key_class):
            raise UnstableKey(f"family {self.name}: a {self._key_class.__name__} is needed, not {instance!r}")
        return {name: getattr(instance[0], name) for name in self.fields}

    def agrees_with(self, other: "Family[Any]") -> bool:
        """Whether a value of the other family, stored under the same name, is one of this family's."""
        if self.maker and other.maker and self.maker != other.maker:
            return False
        return (self.template, self.type, self.identity, self.data_class, self.kept_as) == (
            other.template,
            other.type,
            other.identity,
            other.data_class,
            other.kept_as,
        )


AnyFamily: TypeAlias = Family[Any]
"""A family, whatever its values are."""


def no_key(given: object) -> UnstableKey:
    """Return what to raise for what isn't a key: found out where reading it fails, which costs no hit."""
    return UnstableKey(f"{given!r} isn't a key: family.key(…) makes one, of a family that is declared")


def _check_types(name: object, key: object, details: FamilyDetails) -> None:
    if not isinstance(name, str):
        raise InvalidFamily(f"family {name!r}: its name has to be a text")
    if not isinstance(key, str | type):
        raise InvalidFamily(f"family {name}: key {key!r}: a text such as '{{id}}', or a frozen dataclass")
    for option, kind in (("schema", int), ("data_class", DataClass), ("policy", Policy)):
        value = details.get(option)
        if value is not None and not isinstance(value, kind):
            raise InvalidFamily(f"family {name}: {option} is {value!r}: {kind.__name__} is needed")


def _plain(value: object, name: str) -> str:
    if type(value) is str:
        return value if value.isprintable() else group_name(value)
    return render(value, name)


def _template(key: type) -> str:
    if not is_dataclass(key) or not key.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # see above
        raise InvalidFamily(f"key class {key.__name__}: @dataclass(frozen=True) is needed")
    return ":".join(f"{{{each.name}}}" for each in fields(key))
