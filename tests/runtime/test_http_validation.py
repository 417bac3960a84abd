"""RFC 9111 sections 3.3 to 4.3, RFC 9110 sections 13 to 15, RFC 5861, RFC 9211: selecting and validating."""

from __future__ import annotations

import pytest

from tests.runtime.http_rows import Results, Row, parameters
from tests.runtime.origin import ScriptedOrigin
from tests.runtime.rows.cache_status import CACHE_STATUS
from tests.runtime.rows.conditions import CONDITIONS
from tests.runtime.rows.heads import HEADS
from tests.runtime.rows.ranges import RANGES
from tests.runtime.rows.stale import STALE
from tests.runtime.rows.validation import VALIDATION
from tests.runtime.rows.vary import VARY

ROWS = [*VARY, *CONDITIONS, *VALIDATION, *HEADS, *RANGES, *STALE, *CACHE_STATUS]


@pytest.fixture(scope="module")
def results(strict_url: str, running_origin: ScriptedOrigin) -> Results:
    return Results(strict_url, running_origin, ROWS)


@pytest.mark.parametrize("row", parameters(ROWS))
def test_validation(row: Row, results: Results) -> None:
    results.check(row)
