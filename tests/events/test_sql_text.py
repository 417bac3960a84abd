"""Which tables a statement of SQL writes to, as text alone tells it."""

import pytest

from origin_sdk.events._models.sql_text import textual_writes

ROWS = {
    "UPDATE tag SET name = 'x'": [("update", {"tag"})],
    "update only Shop.\"Tag\" set name = 'x'": [("update", {"tag"})],
    "UPDATE OR IGNORE tag SET name = 'x'": [("update", {"tag"})],
    "UPDATE /* it's */ tag SET name = 'x' -- it's": [("update", {"tag"})],
    "UPDATE -- one\n tag SET name = 'x'": [("update", {"tag"})],
    "/* SELECT */ DELETE\nFROM tag": [("delete", {"tag"})],
    "TRUNCATE TABLE ONLY tag, `shop`.`item` CASCADE": [("truncate", {"tag", "item"})],
    "INSERT OR REPLACE INTO tag VALUES (1)": [("insert", {"tag"})],
    "REPLACE INTO tag VALUES (1)": [("insert", {"tag"})],
    "MERGE INTO tag USING item ON true WHEN MATCHED THEN DELETE": [("insert", {"tag"})],
    "COPY tag FROM STDIN": [("insert", {"tag"})],
    "WITH gone AS (DELETE FROM tag RETURNING *) SELECT * FROM gone": [("delete", {"tag"})],
    "SELECT 1; UPDATE tag SET name = 'x'": [("update", {"tag"})],
    "SELECT ';' AS a; DELETE FROM tag; DELETE FROM item": [("delete", {"tag"}), ("delete", {"item"})],
    "EXPLAIN ANALYZE UPDATE tag SET name = 'x'": [("update", {"tag"})],
    "SELECT * FROM tag WHERE name = 'update tag' FOR UPDATE": [],
    "SELECT 'it''s; DELETE FROM tag'": [],
    "-- UPDATE tag\nSELECT 1": [],
    "/* UPDATE tag": [],
    "": [],
}


@pytest.mark.parametrize("statement", ROWS, ids=str)
def test_the_tables_that_a_statement_writes(statement: str) -> None:
    assert [(write.verb, set(write.tables)) for write in textual_writes(statement)] == ROWS[statement]
