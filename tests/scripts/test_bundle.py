"""The Pyodide bundle is made from known places in the glue code, or not at all."""

from __future__ import annotations

import pytest

from scripts.runtime import paths
from scripts.runtime.bundle import BundleError, adapt_glue


def test_glue_code_takes_from_workerd_what_it_took_from_the_browser() -> None:
    source = (paths.NODE_MODULES / "pyodide" / "pyodide.asm.mjs").read_text(encoding="utf-8")

    adapted = adapt_glue(source)

    assert adapted.startswith("import {")
    for browser in (
        "new WebAssembly.Module(",
        "WebAssembly.instantiate(",
        "crypto.getRandomValues(",
        "Date.now",
    ):
        assert browser in source
        assert browser not in adapted


def test_glue_code_of_another_shape_is_refused_with_the_remedy() -> None:
    with pytest.raises(BundleError, match=r"check that package\.json pins the version"):
        adapt_glue("export default _createPyodideModule;")
