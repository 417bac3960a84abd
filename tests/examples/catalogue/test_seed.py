import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from examples.catalogue.database import open_database
from examples.catalogue.seed import read_words

_TABLES = ("category", "product", "former_slug", "basket_item")


def _rows(path: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()  # noqa: S608 - from _TABLES


@pytest.mark.parametrize("table", _TABLES)
def test_two_seeds_are_the_same_word_for_word(seeded: Path, tmp_path: Path, table: str) -> None:
    again = tmp_path / "again.sqlite3"
    open_database(again).close()
    assert _rows(again, table) == _rows(seeded, table)


def test_product_17_is_the_one_that_the_documents_name(seeded: Path) -> None:
    by_id = {row[0]: row for row in _rows(seeded, "product")}
    assert "Westerley Compact Casserole" in by_id[17]


def test_a_database_that_has_categories_is_not_seeded_again(seeded: Path, tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite3"
    open_database(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM product WHERE id = 17")
    open_database(path).close()
    assert len(_rows(path, "product")) == len(_rows(seeded, "product")) - 1


def test_names_and_slugs_are_unique_and_descriptions_have_a_few_hundred_characters(seeded: Path) -> None:
    with closing(sqlite3.connect(seeded)) as connection:
        rows = connection.execute("SELECT name, slug, description FROM product").fetchall()
    assert len(rows) == 3000
    assert len({name for name, _, _ in rows}) == len({slug for _, slug, _ in rows}) == 3000
    assert all(150 <= len(description) <= 400 for _, _, description in rows)


def test_every_category_is_named_in_three_languages() -> None:
    words = read_words()
    assert len(words.category) == 20
    assert all(set(category.names) == {"en", "de", "fr"} for category in words.category)
