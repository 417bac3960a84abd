"""What the page ships of others is what they published."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENDORED = ROOT / "origin_sdk" / "dashboard" / "page" / "vendor"


@pytest.mark.parametrize(
    ("shipped", "published"),
    [
        ("uPlot.iife.min.js", "dist/uPlot.iife.min.js"),
        ("uPlot.min.css", "dist/uPlot.min.css"),
        ("uPlot.LICENSE", "LICENSE"),
    ],
)
def test_uplot_is_the_release_that_package_json_pins(shipped: str, published: str) -> None:
    released = (ROOT / "node_modules" / "uplot" / published).read_bytes()
    assert (VENDORED / shipped).read_bytes() == released, (
        f"cp node_modules/uplot/{published} {VENDORED / shipped}"
    )
