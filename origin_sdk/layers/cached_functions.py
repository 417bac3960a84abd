"""What a decorator makes of a function: its key's values, its loader, and verbs that are bound as it is.

What would fail or change later is refused here, where it is declared.
"""

import collections.abc
import functools
import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

from origin_sdk._values.texts import texts
from origin_sdk.layers.errors import InvalidFamily
from origin_sdk.layers.rules.load_context import LoadContext
from origin_sdk.layers.values.families import AnyFamily, AnyKey

__all__ = ["Bindable", "CallSignature", "Function"]

Called: TypeAlias = Callable[..., Any]
"""What is decorated: the signature says what it takes."""

_AWAITABLES = (collections.abc.Awaitable, collections.abc.Coroutine)


class Function:
    """A function that is to be cached. Raises InvalidFamily for one whose values couldn't be kept."""

    def __init__(self, given: Called, *, is_async: bool) -> None:
        self.kind: type | None = type(given) if isinstance(given, classmethod | staticmethod) else None
        self.call: Called = given.__func__ if self.kind else given  # type: ignore[attr-defined]  # they have it
        module, name = getattr(self.call, "__module__", ""), getattr(self.call, "__qualname__", "")
        self.full_name = f"{module}.{name or type(self.call).__qualname__}"
        self.name: str = getattr(self.call, "__name__", type(self.call).__name__)
        scope = name.rpartition(".")[0]
        self.is_in_class = bool(scope) and not scope.endswith("<locals>")
        try:
            self.signature = inspect.signature(self.call)
        except ValueError as error:
            raise InvalidFamily(
                f"{name}: its parameters can't be read ({error}): cache a function of your own that calls it"
            ) from error
        self._refuse(is_async=is_async)
        self.hints = self._hints()
        self.returns = self.hints.get("return", Any)
        if is_async and typing.get_origin(self.returns) in _AWAITABLES:
            self.returns = (typing.get_args(self.returns) or (Any,))[-1]

    def _refuse(self, *, is_async: bool) -> None:
        calls = (self.call, getattr(self.call, "__call__", None))  # noqa: B004 - what an object does when called
        if any(map(inspect.isgeneratorfunction, calls)) or any(map(inspect.isasyncgenfunction, calls)):
            raise InvalidFamily(
                f"{self.full_name}: a generator can be read once, and is used up by the first caller: "
                "return a list"
            )
        if not is_async and any(map(inspect.iscoroutinefunction, calls)):
            raise InvalidFamily(f"{self.full_name}: an async function: AsyncLayeredCache is the cache for it")
        if self.is_in_class and self.kind is None and next(iter(self.signature.parameters), "") == "cls":
            raise InvalidFamily(
                f"{self.full_name}: put the cache's decorator above @classmethod, so that its verbs are bound"
            )

    def _hints(self) -> dict[str, object]:
        annotated = self.call if inspect.isroutine(self.call) else type(self.call).__call__
        if isinstance(self.call, functools.partial):
            annotated = self.call.func
        try:
            return typing.get_type_hints(annotated, include_extras=True)
        except (NameError, AttributeError, TypeError) as error:
            raise InvalidFamily(
                f"{self.full_name}: its annotations say what its values are, and can't be read: {error}: "
                "import what they name where the function is defined, not only while types are checked"
            ) from error

    @property
    def context(self) -> str:
        """The parameter that is filled in with the load's context."""
        for name, hint in self.hints.items():
            if name != "return" and (hint is LoadContext or typing.get_origin(hint) is LoadContext):
                return name
        return ""

    def placed(self, cached: Called) -> object:
        """Return what stands where the function stood: in a class, its verbs have to be bound as well."""
        if self.kind is staticmethod or not self.is_in_class:
            return staticmethod(cached) if self.kind else cached
        return Bindable(cached, is_of_class=self.kind is classmethod)


class Bindable:
    """A cached function in a class: bound to an object, and so are its verbs."""

    def __init__(self, cached: Called, *, is_of_class: bool) -> None:
        self._cached = cached
        self._is_of_class = is_of_class
        functools.update_wrapper(self, cached)

    def __get__(self, instance: object | None, owner: type | None = None) -> object:
        bound_to = owner if self._is_of_class else instance
        return self._cached if bound_to is None else _Bound(self._cached, bound_to)

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Call it as it is, in the class's own body for example."""
        return self._cached(*args, **kwargs)


class _Bound(functools.partial[Any]):
    """A cached function with its object. Its verbs are attributes of the function."""

    def __getattr__(self, name: str) -> object:
        if name in {"key", "invalidate", "loader", "refresh"}:
            return functools.partial(getattr(self.func, name), *self.args)
        if name in {"family", "__name__", "__qualname__", "__module__"}:
            return getattr(self.func, name)
        raise AttributeError(name)


_Loader: TypeAlias = Callable[[LoadContext[Any]], Any]


class _Verbs(Protocol):
    """A cache, as far as a decorated function's own verbs need it."""

    def delete(self, key: AnyKey, /) -> object: ...
    def refresh(self, key: AnyKey, loader: _Loader, /) -> object: ...


class CallSignature:
    """How a decorated function's arguments become its key's."""

    def __init__(self, function: Function, family: AnyFamily, ignore: Iterable[str]) -> None:
        self._signature = function.signature
        self._context = function.context
        self._function = function
        self._family = family
        names = [name for name in self._signature.parameters if name != self._context]
        self._check(names, texts(ignore))
        self.arity = len(names)
        self._names = names
        self._picked = tuple(names.index(field) for field in family.fields)
        self.is_direct = self._picked == tuple(range(len(names)))

    def _check(self, names: list[str], ignored: tuple[str, ...]) -> None:
        where, fields = f"{self._function.full_name}: ", self._family.fields
        if missing := set(fields) - set(names):
            raise InvalidFamily(f"{where}the key names {sorted(missing)}, which aren't parameters")
        if unknown := set(ignored) - set(names):
            raise InvalidFamily(f"{where}ignore names {sorted(unknown)}, which aren't parameters")
        if both := set(ignored) & set(fields):
            raise InvalidFamily(
                f"{where}{sorted(both)} are in the key, and to be ignored: drop one of the two"
            )
        if extra := set(names) - set(fields) - set(ignored):
            raise InvalidFamily(
                f"{where}{sorted(extra)} aren't in the key {self._family.template!r}, so that calls that "
                "differ in them would share a value: put them there, or say ignore=[…]"
            )
        for parameter in self._signature.parameters.values():
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
                raise InvalidFamily(f"{where}*{parameter.name} can't be in a key: name the parameters")

    def verbs(self, cache: "_Verbs") -> dict[str, Callable[..., Any]]:
        """Return what a decorated function can do besides being called, by name.

        With the cache for event loops these return what is awaited.
        """

        def key(*args: object, **kwargs: object) -> AnyKey:
            return self.key(self.normal(args, kwargs))

        def loader(*args: object, **kwargs: object) -> _Loader:
            return self.loader(self.normal(args, kwargs))

        def invalidate(*args: object, **kwargs: object) -> object:
            return cache.delete(key(*args, **kwargs))

        def refresh(*args: object, **kwargs: object) -> object:
            return cache.refresh(key(*args, **kwargs), loader(*args, **kwargs))

        return {"key": key, "loader": loader, "invalidate": invalidate, "refresh": refresh}

    def normal(self, args: tuple[object, ...], kwargs: dict[str, object]) -> tuple[object, ...]:
        """Return all arguments by position, with defaults."""
        names = self._signature.parameters
        if self._context:
            bound = self._signature.bind_partial(*args, **kwargs)
        else:
            bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        missing = [name for name in self._names if name not in bound.arguments]
        if missing:
            raise TypeError(f"{self._function.full_name}: {', '.join(missing)} missing")
        return tuple(bound.arguments[name] for name in names if name != self._context)

    def picked(self, args: tuple[object, ...]) -> tuple[object, ...]:
        """Return the key's arguments, in the key's order."""
        return args if self.is_direct else tuple(args[index] for index in self._picked)

    def key(self, args: tuple[object, ...]) -> AnyKey:
        """Return the key of a call."""
        return self._family.key_of(self.picked(args))

    def loader(self, args: tuple[object, ...]) -> _Loader:
        """Return what loads the value of a call."""
        function, name = self._function.call, self._context
        arguments = dict(zip(self._names, args, strict=True))
        positional = [
            parameter
            for parameter, each in self._signature.parameters.items()
            if each.kind is each.POSITIONAL_ONLY and parameter != name
        ]
        first = [arguments.pop(parameter) for parameter in positional]

        def load(context: LoadContext[Any]) -> object:
            if name:
                return function(*first, **arguments, **{name: context})
            return function(*first, **arguments)

        return load
