"""Changes of SQLAlchemy's sessions and what they purge, over SQLite and PostgreSQL, synchronous and not."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    literal,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    column_property,
    configure_mappers,
    mapped_column,
    relationship,
    scoped_session,
    sessionmaker,
    synonym,
)

from origin_sdk import InvalidSettings, Purge
from origin_sdk.events.sqlalchemy import EdgeEvents, UnseenChangeWarning
from origin_sdk.layers import Family, LayeredCache
from origin_sdk.outbox import Intent, Republish, State, acting
from origin_sdk.outbox._stores.entries import read_payload
from origin_sdk.outbox.sqlalchemy import SqlAlchemyOutbox, record
from tests.events.shop import (
    Base,
    Box,
    Category,
    Dog,
    Note,
    Offer,
    Page,
    Product,
    Review,
    Shelf,
    Size,
    Tag,
    edge,
    fill,
    product_tag,
)

Scenario = Callable[[Session], object]


@dataclass
class Service:
    """A service's database; ``run`` gives a session to a function, asynchronous or not."""

    engine: Engine
    run: Callable[[Scenario], None]

    def recorded(self) -> list[Intent]:
        waiting = SqlAlchemyOutbox(self.engine).list([State.WAITING], 100)
        return [read_payload(entry.payload) for entry in reversed(waiting)]

    def targets(self) -> set[str]:
        """Return all that is to be purged: groups, and URLs by their last segment after a slash."""
        purges = [intent for intent in self.recorded() if isinstance(intent, Purge)]
        return {
            *(group for purge in purges for group in purge.groups),
            *(f"/{url.rpartition('/')[2]}" for purge in purges for url in purge.urls),
        }


@pytest.fixture(params=["SQLite", "PostgreSQL", "PostgreSQL, asynchronous", "asyncpg, asynchronous"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    is_sqlite = request.param.startswith("SQLite")
    url = make_url(f"sqlite:///{tmp_path}/shop.db" if is_sqlite else request.getfixturevalue("postgres_url"))
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        fill(session)
    is_async = request.param.endswith("asynchronous")
    if request.param.startswith("asyncpg"):
        url = url.set(drivername="postgresql+asyncpg")
    yield Service(engine, _asynchronous(url) if is_async else _synchronous(engine))
    engine.dispose()


def _synchronous(engine: Engine) -> Callable[[Scenario], None]:
    sessions = sessionmaker(engine)
    edge.listen(sessions)

    def run(scenario: Scenario) -> None:
        with sessions() as session:
            scenario(session)

    return run


def _asynchronous(url: URL) -> Callable[[Scenario], None]:
    async def run(scenario: Scenario) -> None:
        engine = create_async_engine(url)
        sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(engine)
        edge.listen(sessions)
        async with sessions() as session:
            await session.run_sync(scenario)
        await engine.dispose()

    return lambda scenario: asyncio.run(run(scenario))


def _insert(session: Session) -> None:
    session.add(Product(name="cup", category_id=2, tags=[session.get_one(Tag, 2)]))
    session.commit()


def _rename(session: Session) -> None:
    session.get_one(Product, 1).name = "wok"
    session.commit()


def _rename_unloaded(session: Session) -> None:
    product = session.get_one(Product, 1)
    session.expire(product)
    product.name = "wok"
    session.commit()


def _move(session: Session) -> None:
    session.get_one(Product, 1).category_id = 2
    session.commit()


def _move_by_relationship(session: Session) -> None:
    session.get_one(Product, 1).category = session.get_one(Category, 2)
    session.commit()


def _move_by_the_other_side(session: Session) -> None:
    garden, pan = session.get_one(Category, 2), session.get_one(Product, 1)
    garden.products.append(pan)
    session.commit()


def _touch_unwatched(session: Session) -> None:
    session.get_one(Product, 1).views += 1
    session.commit()


def _set_the_same(session: Session) -> None:
    session.get_one(Product, 1).name = "pan"
    session.commit()


def _change_and_change_back(session: Session) -> None:
    product = session.get_one(Product, 1)
    product.name = "wok"
    product.name = "pan"
    session.commit()


def _delete(session: Session) -> None:
    session.delete(session.get_one(Product, 1))
    session.commit()


def _delete_after_change(session: Session) -> None:
    product = session.get_one(Product, 2)
    product.name = "urn"
    session.delete(product)
    session.commit()


def _orphan(session: Session) -> None:
    pan = session.get_one(Product, 1)
    pan.reviews.clear()
    session.commit()


def _tag(session: Session) -> None:
    session.get_one(Product, 1).tags = [session.get_one(Tag, 2)]
    session.commit()


def _tag_with_a_new_one(session: Session) -> None:
    pot = session.get_one(Product, 2)
    pot.tags.append(Tag(name="new"))
    session.commit()


def _merge(session: Session) -> None:
    session.merge(Product(id=2, name="jug", category_id=1))
    session.commit()


def _rollback(session: Session) -> None:
    session.get_one(Product, 1).name = "wok"
    session.flush()
    session.rollback()
    session.commit()


def _savepoint_kept(session: Session) -> None:
    with session.begin_nested():
        session.get_one(Product, 2).price = 5
    session.commit()


def _savepoint_lost(session: Session) -> None:
    session.get_one(Category, 1).name = "kitchens"
    nested = session.begin_nested()
    session.get_one(Product, 1).name = "wok"
    session.flush()
    nested.rollback()
    session.get_one(Product, 2).price = 5
    session.commit()


def _nested_in_a_lost_one(session: Session) -> None:
    outer = session.begin_nested()
    with session.begin_nested():
        session.get_one(Product, 1).name = "wok"
    outer.rollback()
    session.commit()


def _failed_flush(session: Session) -> None:
    session.get_one(Product, 1).price = 7
    session.add(Tag(id=1, name="double"))
    with pytest.raises(Exception, match=r"(?i)unique|duplicate|conflicts"):
        session.flush()
    session.rollback()
    session.get_one(Product, 2).price = 7
    session.commit()


def _bulk_update(session: Session) -> None:
    session.execute(update(Product).where(Product.price == 1).values(category_id=2))
    session.commit()


def _bulk_update_of_the_condition(session: Session) -> None:
    session.execute(update(Product).where(Product.name == "pot").values(name="urn"))
    session.commit()


def _bulk_delete(session: Session) -> None:
    session.execute(delete(Product).where(Product.id == 2))
    session.commit()


def _bulk_update_with_groups(session: Session) -> None:
    session.execute(update(Tag).values(name="same"))
    session.commit()


def _set_to_sql(session: Session) -> None:
    pot = session.get_one(Product, 2)
    pot.price = Product.price + 1
    session.commit()


def _set_the_name_to_sql(session: Session) -> None:
    pan = session.get_one(Product, 1)
    session.expire(pan)
    pan.name = func.upper("wok")
    session.commit()


def _insert_sql(session: Session) -> None:
    session.add(Product(name=func.lower("CUP"), category_id=2))
    session.commit()


def _version(session: Session) -> None:
    session.get_one(Note, 1).text = "b"
    session.commit()


def _by_primary_key(session: Session) -> None:
    session.execute(update(Product), [{"id": 2, "price": 5}])
    session.commit()


def _by_primary_keys(session: Session) -> None:
    session.execute(update(Product), [{"id": id_, "name": "urn"} for id_ in [1, 2] * 600])
    session.commit()


def _with_parameters(session: Session) -> None:
    statement = update(Product).where(Product.id == bindparam("key")).values(price=bindparam("new"))
    session.execute(statement, {"key": 2, "new": 9})
    session.commit()


def _by_query(session: Session) -> None:
    session.query(Product).filter(Product.id == 2).update({"price": 5})
    session.commit()


def _by_table(session: Session) -> None:
    table = Base.metadata.tables["product"]
    session.execute(update(table).where(table.c.id == 2).values(price=5))
    session.commit()


def _nullify(session: Session) -> None:
    session.delete(session.get_one(Category, 1))
    session.commit()


def _resize(session: Session) -> None:
    session.get_one(Box, 1).size = Size(2, 4)
    session.commit()


def _resize_unloaded(session: Session) -> None:
    box = session.get_one(Box, 1)
    session.expire(box)
    box.height = 4
    session.commit()


def _deepen(session: Session) -> None:
    session.get_one(Box, 1).deep = 5
    session.commit()


def _text_with_groups(session: Session) -> None:
    session.execute(text("DELETE FROM tag WHERE name = 'blue'"))
    session.commit()


def _delete_what_cascades(session: Session) -> None:
    session.delete(session.get_one(Shelf, 1))
    session.flush()


def _bulk_of_nothing(session: Session) -> None:
    session.execute(update(Product).where(Product.id == 99).values(price=2))
    session.commit()


def _bulk_rolled_back(session: Session) -> None:
    session.execute(update(Product).values(price=2))
    session.rollback()


def _unmapped(session: Session) -> None:
    session.get_one(Category, 1).name = "kitchens"
    session.commit()


def _strange_name(session: Session) -> None:
    session.get_one(Tag, 1).name = "a" * 300
    session.commit()


PAN = {"product-1", "category-1", "tagged-red", "/pan"}
POT = {"product-2", "category-1", "/pot"}
SCENARIOS: dict[str, tuple[Scenario, set[str]]] = {
    "an insert, with its generated key": (_insert, {"product-3", "category-2", "tagged-blue", "/cup"}),
    "an update: what was, and what is": (_rename, {*PAN, "/wok"}),
    "an update of what wasn't loaded": (_rename_unloaded, {*PAN, "/wok"}),
    "a foreign key: both ends": (_move, {*PAN, "category-2"}),
    "a relationship: both ends": (_move_by_relationship, {*PAN, "category-2"}),
    "a relationship, from its other side": (_move_by_the_other_side, {*PAN, "category-2"}),
    "an attribute that nobody watches": (_touch_unwatched, set()),
    "the value that it had": (_set_the_same, set()),
    "there and back": (_change_and_change_back, set()),
    "a delete, with what it takes along": (_delete, {*PAN, "reviews-1"}),
    "a delete of what was changed before": (_delete_after_change, {*POT, "/urn"}),
    "an orphan": (_orphan, {"reviews-1"}),
    "an association table: added and removed": (_tag, {*PAN, "tagged-blue"}),
    "an association with a new object": (_tag_with_a_new_one, {*POT, "tagged-new", "tag-new"}),
    "a merge": (_merge, {*POT, "/jug"}),
    "a rollback": (_rollback, set()),
    "a savepoint that is kept": (_savepoint_kept, POT),
    "a savepoint that is rolled back": (_savepoint_lost, POT),
    "a savepoint inside one that is rolled back": (_nested_in_a_lost_one, set()),
    "a flush that fails": (_failed_flush, POT),
    "a bulk update: rows before and after": (_bulk_update, {*PAN, *POT, "category-2"}),
    "a bulk update of its own condition": (_bulk_update_of_the_condition, {*POT, "/urn"}),
    "a bulk delete": (_bulk_delete, POT),
    "a bulk update with groups declared for it": (_bulk_update_with_groups, {"tags"}),
    "a textual statement with groups declared for it": (_text_with_groups, {"tags"}),
    "an update to an SQL expression": (_set_to_sql, POT),
    "an SQL expression for what wasn't loaded": (_set_the_name_to_sql, {*PAN, "/WOK"}),
    "an insert of an SQL expression": (_insert_sql, {"product-3", "category-2", "/cup"}),
    "a version that counts itself": (_version, {"note-1-v1", "note-1-v2"}),
    "an update by primary key: the rows named": (_by_primary_key, POT),
    "an update by many primary keys": (_by_primary_keys, {*PAN, *POT, "/urn"}),
    "a bulk update with parameters": (_with_parameters, POT),
    "Query.update": (_by_query, POT),
    "an update of the table instead of the model": (_by_table, POT),
    "what a delete leaves without a parent": (_nullify, {*PAN, *POT, "category-None"}),
    "a bulk update that hits nothing": (_bulk_of_nothing, set()),
    "a bulk update that is rolled back": (_bulk_rolled_back, set()),
    "a composite": (_resize, {"2x3", "2x4", "deep-1"}),
    "a part of a composite that wasn't loaded": (_resize_unloaded, {"2x3", "2x4", "deep-1"}),
    "a synonym": (_deepen, {"2x3", "deep-1", "deep-5"}),
    "a model without a rule": (_unmapped, set()),
    "a group that no response can carry": (_strange_name, {"tag-red"}),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_change_purges_what_it_makes_out_of_date(service: Service, name: str) -> None:
    scenario, expected = SCENARIOS[name]
    service.run(scenario)
    assert service.targets() == expected


def test_a_rule_may_publish_and_holds_for_subclasses(service: Service) -> None:
    def scenario(session: Session) -> None:
        about = session.get_one(Page, 1)
        session.add(Offer(slug="sale"))
        session.delete(about)
        session.commit()

    service.run(scenario)

    sale, about = "https://shop.example/sale", "https://shop.example/about"
    assert service.recorded() == [
        Purge.of(urls=[sale, about], hard=True, reason="pages"),
        Republish(sale, "page", {"slug": "sale"}),
    ]


def _listener(session: Session) -> None:
    def hide(_mapper: object, connection: Connection, _target: object) -> None:
        connection.execute(update(Base.metadata.tables["review"]).values(text="hidden"))

    event.listen(Category, "after_update", hide)
    try:
        session.get_one(Category, 1).name = "kitchens"
        session.flush()
    finally:
        event.remove(Category, "after_update", hide)


TAG = Base.metadata.tables["tag"]
# Statements that write tags and products: what bulk=[groups] is purged for, and what is warned of without.
VERBS: dict[str, Callable[[Session, type[Base]], object]] = {
    "bulk_save_objects, new": lambda s, model: s.bulk_save_objects([model(name="x")]),
    "bulk_save_objects, known": lambda s, model: s.bulk_save_objects([renamed(s, model)]),
    "bulk_insert_mappings": lambda s, model: s.bulk_insert_mappings(inspect(model), [{"name": "x"}]),
    "bulk_update_mappings": lambda s, model: s.bulk_update_mappings(inspect(model), [{"id": 1, "name": "x"}]),
    "insert": lambda s, model: s.execute(insert(model), {"name": "x"}),
    "insert, many": lambda s, model: s.execute(insert(model), [{"name": "x"}, {"name": "y"}]),
    "insert from a select": lambda s, model: s.execute(
        insert(model).from_select(["name"], select(literal("x")))
    ),
    "from_statement of an insert": lambda s, model: s.scalars(
        select(model).from_statement(insert(model).values(name="x").returning(model))
    ).all(),
    "from_statement of an update": lambda s, model: s.scalars(
        select(model).from_statement(update(model).values(name="x").returning(model))
    ).all(),
    "text in from_statement": lambda s, model: s.scalars(
        select(model).from_statement(text(f"UPDATE {model.__tablename__} SET name = 'x' RETURNING *"))  # noqa: S608
    ).all(),
    "text with columns": lambda s, model: s.execute(
        text(f"UPDATE {model.__tablename__} SET name = 'x' RETURNING id").columns(id=Integer)  # noqa: S608
    ).all(),
    "text of a known table in another schema's quotes": lambda s, model: s.execute(
        text(f'/* a */ DELETE  FROM "{model.__tablename__}" WHERE id = -1')  # noqa: S608
    ),
    "text, behind comments": lambda s, model: s.execute(
        text(f"UPDATE /* it's */ {model.__tablename__} -- it's\n SET name = 'x'")  # noqa: S608
    ),
    "an update of an alias": lambda s, model: s.execute(update(aliased(model)).values(name="x")),
    "an insert that returns": lambda s, model: s.scalars(
        insert(model).returning(model), [{"name": "x"}]
    ).all(),
    "the session's connection": lambda s, model: s.connection().execute(
        update(model.__table__).values(name="x")  # type: ignore[arg-type]  # a table
    ),
    "the driver's SQL": lambda s, model: s.connection().exec_driver_sql(
        f"UPDATE {model.__tablename__} SET name = 'x'"  # noqa: S608
    ),
    "a table of another MetaData": lambda s, model: s.execute(
        update(Table(model.__tablename__, MetaData(), Column("name", String))).values(name="x")
    ),
}


def renamed(session: Session, model: type[Base]) -> Base:
    row = session.get_one(model, 1)
    session.expunge(row)
    row.name = "x"  # type: ignore[attr-defined]  # all have one
    return row


def test_every_verb_purges_the_declared_groups(service: Service) -> None:
    def scenario(session: Session, verb: str) -> None:
        VERBS[verb](session, Tag)
        rows = session.execute(text("SELECT payload FROM edge_outbox WHERE state = 'waiting'")).scalars()
        purged[verb] = [payload for payload in rows if "tags" in payload]
        session.rollback()

    purged: dict[str, list[str]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for verb in VERBS:
            service.run(partial(scenario, verb=verb))
    assert {verb: len(payloads) for verb, payloads in purged.items()} == dict.fromkeys(VERBS, 1)


def test_every_verb_that_looks_up_no_row_is_warned_of(service: Service) -> None:
    looked_up = {"a table of another MetaData", "an update of an alias"}
    verbs = [verb for verb in VERBS if verb not in looked_up]
    for verb in verbs:
        with pytest.warns(UnseenChangeWarning, match=r"changes Product .*bulk=\[groups\]"):
            service.run(lambda session, verb=verb: VERBS[verb](session, Product))  # type: ignore[misc]  # mypy: lambda's default


@pytest.mark.parametrize("has_begun", [False, True], ids=["before any session", "after one"])
def test_a_connection_of_ones_own_counts_as_the_session_s(tmp_path: Path, has_begun: bool) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        fill(session)
    sessions = sessionmaker(engine)
    edge.listen(sessions)
    if has_begun:
        with sessions() as session:
            session.execute(select(Tag)).all()
    service = Service(engine, lambda _: None)
    with engine.begin() as connection:
        connection.execute(insert(Tag), [{"name": "x"}, {"name": "y"}])
    assert service.recorded() == [Purge.of(groups="tags")]
    with engine.connect() as connection:
        connection.execute(update(Tag).values(name="z"))
        connection.rollback()
    assert len(service.recorded()) == 1
    with engine.begin() as connection, pytest.warns(UnseenChangeWarning, match="changes Product"):
        connection.exec_driver_sql("UPDATE product SET price = 9")
    with Session(engine) as unheard:
        unheard.get_one(Product, 1).price = 8
        with pytest.warns(UnseenChangeWarning, match="changes Product"):
            unheard.commit()
    engine.dispose()


def test_a_write_in_a_cte_is_one_too(service: Service) -> None:
    if service.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no such CTE")
    written = update(Tag).values(name="x").returning(Tag.id).cte("written")

    def scenario(session: Session) -> None:
        session.execute(select(written.c.id)).all()
        session.commit()

    service.run(scenario)
    assert service.targets() == {"tags"}


def test_an_update_of_a_subclass_counts_for_its_base(service: Service) -> None:
    def scenario(session: Session) -> None:
        session.execute(update(Dog.__table__).values(breed="mutt"))  # type: ignore[arg-type]  # a table
        session.commit()

    service.run(scenario)
    assert service.targets() == {"animals"}


UNSEEN: dict[str, tuple[Scenario, str]] = {
    "a bulk insert": (lambda s: s.execute(insert(Product), [{"name": "a"}]), "a bulk insert on product"),
    "a bulk update without a plan": (lambda s: s.execute(update(Review).values(text="x")), "Review"),
    "the association table itself": (lambda s: s.execute(delete(product_tag)), "on product_tag"),
    "a textual statement": (
        lambda s: s.execute(text('UPDATE "product" SET price = 9')),
        "a textual statement",
    ),
    "what the database deletes along": (_delete_what_cascades, "a delete of a Shelf, by ON DELETE CASCADE"),
    "what the database deletes along with a bulk delete": (
        lambda s: s.execute(delete(Shelf)),
        "a bulk delete on shelf",
    ),
    "what the database deletes along with a textual delete": (
        lambda s: s.execute(text("DELETE FROM shelf")),
        "a textual statement changes Jar",
    ),
    "what a listener executes during a flush": (_listener, "a bulk update on review"),
    "a table instead of a model": (lambda s: s.execute(delete(Base.metadata.tables["review"])), "Review"),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_what_the_orm_does_not_show_is_warned_of_where_it_is_done(service: Service, name: str) -> None:
    scenario, message = UNSEEN[name]
    with pytest.warns(UnseenChangeWarning, match=message) as caught:
        service.run(scenario)
    assert {Path(warning.filename).name for warning in caught} == {Path(__file__).name}


def test_reads_and_statements_on_other_tables_are_none_of_our_business(service: Service) -> None:
    def scenario(session: Session) -> None:
        session.execute(text("SELECT price FROM product WHERE name = 'update product'")).all()
        session.execute(text("UPDATE category SET name = 'x'"))
        session.commit()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        service.run(scenario)
    assert service.recorded() == []


def test_one_flush_records_one_row_however_many_objects_it_writes(service: Service) -> None:
    def scenario(session: Session) -> None:
        session.add_all([Review(text=str(number), product_id=1) for number in range(50)])
        session.commit()

    service.run(scenario)
    assert service.recorded() == [Purge.of(groups="reviews-1")]


def test_thousands_of_targets_are_cut_into_entries(service: Service) -> None:
    def scenario(session: Session) -> None:
        session.add_all([Tag(name=f"t{number}") for number in range(2500)])
        session.commit()

    service.run(scenario)
    assert [len(purge.groups) for purge in service.recorded() if isinstance(purge, Purge)] == [
        1000,
        1000,
        500,
    ]


def test_who_and_why_go_with_the_change(service: Service) -> None:
    def scenario(session: Session) -> None:
        with acting("alice", "price list"):
            _rename(session)

    service.run(scenario)
    [listed] = SqlAlchemyOutbox(service.engine).list([State.WAITING], 10)
    assert (listed.actor, listed.reason) == ("alice", "price list")


def test_a_drainer_is_woken_by_the_commit_alone() -> None:
    woken: list[str] = []
    events = EdgeEvents()
    events.on_commit = lambda: woken.append("now")
    events.register(Tag, groups=lambda tag: f"tag-{tag.name}", bulk=["tags"])
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    sessions = sessionmaker(engine)
    events.listen(sessions)
    with sessions() as session:
        session.add(Category(name="x"))
        session.commit()
        session.add(Tag(name="red"))
        session.flush()
        with session.begin_nested():
            session.add(Tag(name="blue"))
        assert woken == []
        session.commit()
        assert woken == ["now"]
    engine.dispose()


def test_layers_forget_with_the_commit_and_not_without_it(service: Service) -> None:
    tags = Family("tag", "{id}", str, groups=("tag-red",))
    red, seen = tags.key(id=1), []

    def scenario(session: Session) -> None:
        session.get_one(Tag, 1).name = "pink"
        session.flush()
        seen.append(cache.get(red))
        session.rollback()
        session.commit()
        seen.append(cache.get(red))
        session.get_one(Tag, 1).name = "pink"
        session.commit()
        seen.append(cache.get(red))

    with LayeredCache() as cache:
        cache.set(red, "red")
        edge.layers = [cache]
        try:
            service.run(scenario)
        finally:
            edge.layers = ()
    assert seen == ["red", "red", None]


def test_sqlite_is_served_asynchronously_too(tmp_path: Path) -> None:
    url = make_url(f"sqlite:///{tmp_path}/shop.db")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        fill(session)
    service = Service(engine, _asynchronous(url.set(drivername="sqlite+aiosqlite")))
    service.run(_rename)
    assert service.targets() == {*PAN, "/wok"}
    engine.dispose()


def test_a_scoped_session_is_listened_to(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    session = scoped_session(sessionmaker(engine))
    edge.listen(session)
    edge.listen(session)
    session.add(Tag(name="red"))
    session.commit()
    assert Service(engine, lambda _: None).recorded() == [Purge.of(groups="tag-red")]
    session.remove()
    engine.dispose()


class _Own(AsyncSession):
    """A class of an application, as SQLModel has one, with sessions of its own inside."""

    sync_session_class = type("Inside", (Session,), {})


def _maker(engine: AsyncEngine) -> tuple[Any, Callable[[], AsyncSession]]:
    sessions = async_sessionmaker(engine)
    return sessions, sessions


def _scoped(engine: AsyncEngine) -> tuple[Any, Callable[[], AsyncSession]]:
    sessions = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
    return sessions, sessions.session_factory


def _one(engine: AsyncEngine) -> tuple[Any, Callable[[], AsyncSession]]:
    session = AsyncSession(engine)
    return session, lambda: session


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(_maker, id="a sessionmaker"),
        pytest.param(_scoped, id="scoped sessions"),
        pytest.param(lambda engine: (_Own, partial(_Own, engine)), id="a class"),
        pytest.param(_one, id="a session"),
    ],
)
def test_asynchronous_sessions_are_listened_to_once_by_all_that_they_come_of(
    made: Callable[[AsyncEngine], tuple[Any, Callable[[], AsyncSession]]], tmp_path: Path
) -> None:
    url = make_url(f"sqlite:///{tmp_path}/shop.db")
    engine = create_engine(url)
    Base.metadata.create_all(engine)
    events = EdgeEvents()
    events.register(Tag, groups=lambda tag: f"tag-{tag.name}")

    async def run() -> None:
        asynchronous = create_async_engine(url.set(drivername="sqlite+aiosqlite"))
        sessions, make = made(asynchronous)
        events.listen(sessions)
        events.listen(sessions)
        async with make() as session:
            session.add(Tag(name="red"))
            await session.commit()
        await asynchronous.dispose()

    asyncio.run(run())
    assert Service(engine, lambda _: None).recorded() == [Purge.of(groups="tag-red")]
    engine.dispose()


@pytest.mark.parametrize("sessions", [None, "sessions", 3, Tag], ids=repr)
def test_what_no_sessions_come_of_is_refused_with_what_to_give(sessions: Any) -> None:
    with pytest.raises(InvalidSettings, match="give a sessionmaker"):
        EdgeEvents().listen(sessions)


def test_groups_that_are_the_same_for_each_object_are_those_of_bulk_statements() -> None:
    rule = EdgeEvents().register(Tag, groups="catalogue")
    assert list(rule.on_change(Tag())) == list(rule.on_bulk()) == [Purge.of(groups="catalogue")]

    others = EdgeEvents().register(Tag, groups=["catalogue"], urls=lambda _: "https://shop.example/1")
    assert (others.bulk, list(others.on_bulk())) == ("warn", [])
    assert EdgeEvents().register(Tag, groups=["catalogue"], bulk="rows").bulk == "rows"


@pytest.mark.parametrize("groups", [5, [5], [""], ["a\nb"]])
def test_groups_that_are_none_are_refused_where_they_are_registered(groups: object) -> None:
    with pytest.raises(InvalidSettings, match="give a function of an object, or names"):
        EdgeEvents().register(Tag, groups=groups)


@pytest.mark.parametrize("model", ["shop.Tag", None, 3], ids=repr)
def test_a_rule_for_what_is_no_class_is_refused(model: type) -> None:
    with pytest.raises(InvalidSettings, match=rf"not for {model!r}: import the class"):
        EdgeEvents().register(model, groups="tags")


def test_a_rule_that_does_nothing_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="give groups, urls or publish"):
        EdgeEvents().register(Tag)


def test_an_asynchronous_session_is_told_how_to_record() -> None:
    with pytest.raises(InvalidSettings, match="record_async"):
        record(AsyncSession(), Purge.of(groups="a"))


@pytest.mark.parametrize("watch", [["prize"], "prize", ["name", "Price"]], ids=str)
def test_a_watched_name_that_the_model_does_not_have_is_refused(watch: str | list[str]) -> None:
    class Base(DeclarativeBase):
        pass

    class Article(Base):
        __tablename__ = "watched_articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str]
        price: Mapped[int]

    Article(id=1)  # maps it
    events = EdgeEvents()
    with pytest.raises(InvalidSettings, match=r"watch = .*'(prize|Price)'.* Article"):
        events.register(Article, groups=lambda _: "articles", watch=watch)
    events.register(Article, groups=lambda _: "articles", watch="price")


@pytest.mark.parametrize("watch", ["total", "reviews_shown", "words", "count", "twice_total"])
def test_a_watched_name_in_which_no_change_shows_is_refused(watch: str) -> None:
    class Base(DeclarativeBase):
        pass

    class Remark(Base):
        __tablename__ = "remarks"
        id: Mapped[int] = mapped_column(primary_key=True)
        words: Mapped[str]
        article_id: Mapped[int] = mapped_column(ForeignKey("articles.id"))

    class Article(Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        price: Mapped[int]
        cost: Mapped[int] = synonym("price")
        remarks: Mapped[list[Remark]] = relationship()
        reviews_shown: Mapped[list[Remark]] = relationship(viewonly=True)
        words: AssociationProxy[list[str]] = association_proxy("remarks", "words")
        count: Mapped[int] = column_property(select(func.count(Remark.id)).scalar_subquery())

        @hybrid_property
        def total(self) -> int:
            return self.price * 2

        twice_total: Mapped[int] = synonym("total")

    configure_mappers()
    events = EdgeEvents()
    with pytest.raises(InvalidSettings, match=rf"watch = \['{watch}'\].*no change of its objects shows"):
        events.register(Article, groups=lambda _: "articles", watch=watch)
    events.register(Article, groups=lambda _: "articles", watch=["price", "cost", "remarks"])
