"""Values come back as themselves, in another process too, or their type is refused where it is declared."""

import dataclasses
import enum
import itertools
import json
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, PrivateAttr, RootModel, SecretStr

from origin_sdk.layers import Encryption, Family, InvalidFamily, LayeredCache, RedisOptions, Wrapping
from origin_sdk.layers.errors import UnreadableRecord, UnsupportedValue
from origin_sdk.layers.values.envelope import Record
from origin_sdk.layers.values.equality import is_same
from tests.layers.servers import PATIENT_SECONDS

BERLIN = ZoneInfo("Europe/Berlin")
IN_BERLIN = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)
BIRTH = b"\0" * 8


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Shade(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass(frozen=True)
class Price:
    amount: Decimal
    sizes: frozenset[Size] = frozenset()


@dataclasses.dataclass
class Product:
    id: UUID
    price: Price
    seen: datetime
    tags: tuple[str, ...] = ()
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class DearPrice(Price):
    reason: str = ""


class Row(TypedDict):
    id: int
    at: date


class Cat(msgspec.Struct, tag=True):
    lives: int
    born: datetime


class Dog(msgspec.Struct, tag=True, rename="camel"):
    good_boy: bool
    notes: dict[str, Any] = {}


class Node(msgspec.Struct):
    name: str
    children: list["Node"] = []


class Item(BaseModel):
    id: UUID
    price: Decimal = Decimal(1)
    at: datetime | None = None
    sizes: set[Size] = set()
    parts: tuple["Item", ...] = ()


class Aliased(BaseModel):
    model_config = ConfigDict(extra="allow")
    number: int = Field(alias="No")
    made: int = Field(default_factory=itertools.count().__next__)


class Odd(BaseModel):
    number: int = Field(validation_alias="in", serialization_alias="out")


class Numbers(RootModel[list[int]]):
    pass


class Linked(BaseModel):
    url: AnyUrl


class Guarded(BaseModel):
    password: SecretStr


class Private(BaseModel):
    shown: int
    _hidden: int = PrivateAttr(default=0)


@dataclasses.dataclass
class Holder:
    item: Item
    at: datetime


UserId = NewType("UserId", int)
ITEM = Item(id=UUID(int=1), at=IN_BERLIN, sizes={Size.SMALL}, parts=(Item(id=UUID(int=2)),))
PRODUCT = Product(UUID(int=1), Price(Decimal("1.50")), IN_BERLIN, ("a",), {"sizes": {1, 2}, "big": 2**70})
MIXED = {
    "decimal": Decimal("1.50"),
    "uuid": UUID(int=1),
    "set": {1, 2},
    "tuple": (1, (2,)),
    "date": date(2026, 1, 2),
    "at": IN_BERLIN,
    "span": timedelta(seconds=1.5),
    "frozen": frozenset({"a"}),
    "ordered": OrderedDict(b=1, a=2),
    "bytes": b"\xff",
    1: {None: True},
    (1, 2): "tuple",
}


def same(kind: Any, value: object, wrapping: Wrapping | None = None) -> tuple[Any, int]:
    """Return what another process would read, and in which form it was written."""
    key = Family("any", "{id}", kind).key(id=1)
    wrapping = wrapping or Wrapping()
    stored = wrapping.wrap(key, Record(value, 1.0, 60.0, 0.0, 0.0, 0.0, ()))
    assert stored is not None
    return Wrapping(seal=wrapping.seal).unwrap(key, BIRTH + stored).value, stored[2]


ROWS: list[tuple[Any, object]] = [
    *((kind, MIXED) for kind in (Any, object, dict, dict[Any, Any])),
    (dict[str, Any], {"a": {1, 2}, "b": (Decimal("1.50"),)}),
    (list, [{1}, (2,), Decimal(1)]),
    (Any, 2**70),
    (int, 2**70),
    (int, -(2**70)),
    (Any, "\ud800"),
    (str, "a\ud800"),
    (dict[str, str], {"\ud800": "\udfff"}),
    (dict[int, str], {1: "a", 2: "b"}),
    (dict[UUID, int], {UUID(int=1): 1}),
    (dict[tuple[int, int], str], {(1, 2): "a"}),
    (dict[date, Decimal], {date(2026, 1, 2): Decimal("1.0")}),
    (dict[Size, int], {Size.SMALL: 1}),
    (dict[str, int], {"b": 1, "a": 2}),
    (Decimal, Decimal("1.50")),
    (Decimal, Decimal("NaN")),
    (UUID, UUID(int=7)),
    (Size, Size.LARGE),
    (Shade, Shade.RED),
    (list[Level], [Level.LOW]),
    (Literal["a", "b"], "b"),
    (UserId, 17),
    (Annotated[int, msgspec.Meta(ge=0)], 17),
    (Annotated[list[int], []], [1]),
    (set[Decimal], {Decimal("1.5")}),
    (frozenset[tuple[int, ...]], frozenset({(1, 2)})),
    (tuple[int, str], (1, "a")),
    (tuple[()], ()),
    (Point, Point(1, 2)),
    (list[Point], [Point(1, 2)]),
    (float, float("nan")),
    (float, float("inf")),
    (bytes, b"\xff"),
    (bytearray, bytearray(b"a")),
    (datetime, IN_BERLIN),
    (datetime, datetime(2026, 1, 2, tzinfo=UTC)),
    (datetime, datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    (datetime, datetime(2026, 1, 2)),  # noqa: DTZ001 - as it is
    (datetime | None, datetime(2026, 1, 2, tzinfo=ZoneInfo("UTC"))),
    (list[datetime], [IN_BERLIN]),
    (time, time(9, 30)),
    (date | None, None),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (UUID | str, UUID(int=1)),
    (UUID | str, str(UUID(int=1))),
    (date | datetime, datetime(2026, 1, 2, tzinfo=UTC)),
    (set[int] | list[int] | None, {1}),
    (Row, {"id": 1, "at": date(2026, 1, 2)}),
    (list[Row], [{"id": 1, "at": date(2026, 1, 2)}]),
    (Price, Price(Decimal("1.50"), frozenset({Size.SMALL}))),
    (Product, PRODUCT),
    (dict[str, list[Product]], {"a": [PRODUCT]}),
    (Cat | Dog, Dog(good_boy=True, notes={"set": {1}})),
    (Cat | Dog, Cat(9, IN_BERLIN)),
    (list[Cat | Dog], [Cat(9, IN_BERLIN), Dog(good_boy=False)]),
    (Node, Node("a", [Node("b", [])])),
    (Item, ITEM),
    (list[Item], [ITEM, ITEM]),
    (Item | None, None),
    (Item | Numbers, Numbers([1, 2])),
    (dict[int, Item], {1: ITEM}),
    (Aliased, Aliased(No=7)),
    (Aliased, Aliased.model_validate({"No": 7, "made": 1, "more": {1, 2}})),
    (Numbers, Numbers([1, 2])),
    (Linked, Linked(url=AnyUrl("https://example.com/"))),
    (Private, Private(shown=1)),
    (Holder, Holder(ITEM, IN_BERLIN)),
]


@pytest.mark.parametrize("format", ["msgpack", "json"])
@pytest.mark.parametrize(("kind", "value"), ROWS, ids=lambda each: ascii(each)[:60])
def test_a_value_comes_back_as_itself(kind: Any, value: object, format: Any) -> None:  # noqa: A002 - its name
    found, _ = same(kind, value, Wrapping(format=format))
    assert is_same(value, found)


def test_a_model_keeps_which_of_its_fields_were_set() -> None:
    found, _ = same(list[Item], [ITEM])
    assert found[0].model_fields_set == ITEM.model_fields_set
    assert found[0].parts[0].model_fields_set == {"id"}


def test_plain_values_stay_readable_by_others() -> None:
    stored = Wrapping(format="json", compression=None).wrap(
        Family("any", "{id}").key(id=1), Record({"a": [1, None, "x"]}, 1.0, 60.0, 0.0, 0.0, 0.0, ())
    )
    assert stored is not None
    assert json.loads(stored[24:]) == {"a": [1, None, "x"]}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes()
    | st.datetimes(timezones=st.timezones(no_cache=False), allow_imaginary=False)
)
HASHABLE = SCALARS | st.tuples(SCALARS, SCALARS) | st.frozensets(SCALARS, max_size=2)
ANYTHING = st.recursive(
    HASHABLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
        | st.sets(HASHABLE, max_size=3)
    ),
    max_leaves=6,
)


@given(ANYTHING, st.sampled_from(["msgpack", "json"]))
def test_whatever_consists_of_known_types_comes_back_as_itself(value: object, form: Any) -> None:
    found, _ = same(Any, value, Wrapping(format=form))
    assert is_same(value, found)


class Plain:
    """An ordinary class."""

    def __repr__(self) -> str:
        return "Plain()"


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Any, Price(Decimal(1))),
        (Any, {"deep": [Price(Decimal(1))]}),
        (Any, Size.SMALL),
        (Any, Level.LOW),
        (Any, Point(1, 2)),
        (Any, ITEM),
        (Any, Text("a")),
        (Any, defaultdict(list)),
        (Any, Plain()),
        (dict[str, Any], {"a": Plain()}),
        (str, Text("a")),
        (Price, DearPrice(Decimal(1), reason="gold")),
        (list[Price], [DearPrice(Decimal(1), reason="gold")]),
        (int, "text"),
        (tuple[int, ...], [1]),
        (Guarded, Guarded(password=SecretStr("x"))),
        (Odd, Price(Decimal(1))),
    ],
    ids=lambda each: ascii(each)[:60],
)
def test_what_would_change_is_not_written(kind: Any, value: object) -> None:
    with pytest.raises(UnsupportedValue, match="come"):
        same(kind, value)


@pytest.mark.parametrize(
    "value",
    [Plain(), {"a": Price(Decimal(1))}, DearPrice(Decimal(1)), {"of": Plain}],
    ids=["an object", "an object inside", "a dataclass", "a class"],
)
def test_a_value_never_fails_a_request_with_redis_or_without(
    redis_server: Any, prefix: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    key = Family("any", "{id}").key(id=1)
    for redis in (None, RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)):
        with LayeredCache(redis) as cache:
            assert redis is None or cache.wait_until_synced(30)
            assert cache.get_or_load(key, lambda _: value) is value
            assert cache.get_or_load(key, lambda _: None) is value
            cache.set(key, value)
            assert cache.get(key) is value
            assert cache.get_many_or_load([key], lambda _: {}) == {key: value}
    assert caplog.text.count("kept in memory alone; said once") == 1


@pytest.mark.parametrize(
    ("kind", "value"), [(dict, MIXED), (Item, ITEM), (Product, PRODUCT), (dict[int, str], {1: "a"})]
)
def test_another_process_reads_the_same(redis_server: Any, prefix: str, kind: Any, value: object) -> None:
    options = RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)
    key = Family("any", "{id}", kind).key(id=1)
    with LayeredCache(options) as first, LayeredCache(options) as second:
        first.get_or_load(key, lambda _: value)
        assert is_same(second.get(key), value)
        assert is_same(second.get_many_or_load([key], lambda _: {})[key], value)


@dataclasses.dataclass
class WithPlain:
    plain: Plain


class OddEnum(enum.Enum):
    A = (1, 2)


@pytest.mark.parametrize(
    "kind",
    [
        Plain,
        list[Plain],
        WithPlain,
        dict[str, WithPlain],
        Plain | None,
        Iterator[int],
        Callable[[], int],
        Awaitable[int],
        OddEnum,
        Price | Product,
        type,
        "Price",
    ],
    ids=str,
)
def test_a_type_that_could_not_come_back_is_refused_where_it_is_declared(kind: Any) -> None:
    with pytest.raises(
        InvalidFamily, match=r"family any: values of type .* can't be stored: .* Return dataclasses"
    ):
        Family("any", "{id}", kind)


SECRETS = {"new": b"k" * 32}


@pytest.mark.parametrize("compression", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("seal", [None, Encryption(SECRETS)], ids=["plain", "sealed"])
def test_nothing_expands_beyond_the_bound(compression: str, seal: Encryption | None) -> None:
    key = Family("text", "{id}", str).key(id=1)
    record = Record("0" * 1_000_000, 1.0, 60.0, 0.0, 0.0, 0.0, ())
    stored = Wrapping(compression=compression, seal=seal).wrap(key, record)
    assert stored is not None
    assert len(stored) < 10_000
    assert Wrapping(seal=seal).unwrap(key, BIRTH + stored).value == record.value
    assert Wrapping(seal=seal, max_bytes=1_000_010).unwrap(key, BIRTH + stored).value == record.value
    with pytest.raises(UnreadableRecord, match="expands to more than 999999 bytes"):
        Wrapping(seal=seal, max_bytes=999_999).unwrap(key, BIRTH + stored)


@pytest.mark.parametrize("compression", ["gzip", "br", "zstd"])
def test_what_is_cut_off_or_goes_on_is_unreadable(compression: str) -> None:
    key = Family("text", "{id}", str).key(id=1)
    stored = Wrapping(compression=compression).wrap(key, Record("0" * 10_000, 1.0, 60.0, 0.0, 0.0, 0.0, ()))
    assert stored is not None
    for changed in (stored[:-1], stored[: len(stored) - 5]):
        with pytest.raises(UnreadableRecord):
            Wrapping().unwrap(key, BIRTH + changed)


@pytest.mark.parametrize(
    ("form", "payload"),
    [
        (1, b"[" * 200_000),
        (2, b"\x91" * 200_000),
        (2, b"\xdd\xff\xff\xff\xff"),
        (2, b"\x81\x80\x01"),
        (3, b"\xc7\x01\x07\x91" * 3),
        (3, b"\xc7\x05\x05\xa4lamp"),
        (3, b"\xc7\x02\x63\xa1a"),
        (9, b"\xc0"),
    ],
    ids=[
        "JSON's depth",
        "depth",
        "a length",
        "a map as a key",
        "a cut set",
        "no number",
        "an unknown tag",
        "a form",
    ],
)
@pytest.mark.parametrize("kind", [Any, Product, Item])
def test_foreign_bytes_are_a_miss(
    redis_server: Any, prefix: str, form: int, payload: bytes, kind: Any
) -> None:
    value = {Any: "lamp", Product: PRODUCT, Item: ITEM}[kind]
    key = Family("any", "{id}", kind).key(id=1)
    options = RedisOptions(url=redis_server.url, prefix=prefix, timeout=PATIENT_SECONDS)
    with LayeredCache(options) as first, LayeredCache(options) as second:
        first.set(key, value)
        client = redis_server.client()
        (name,) = client.keys(f"*{prefix}*e:any*")
        stored = client.get(name)
        client.set(name, stored[:10] + bytes((form, 0)) + stored[12:30] + b"\0\0" + payload)
        assert is_same(second.get_or_load(key, lambda _: value), value)
        assert second.get_many_or_load([key], lambda _: {})
