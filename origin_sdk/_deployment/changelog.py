"""What changed from version to version, as the installed package knows it."""

from pathlib import Path

__all__ = ["changelog"]

_NAME = "CHANGELOG.md"


def changelog() -> str:
    """Return the changelog: the one inside the package, or in a checkout the one at its top."""
    shipped = Path(__file__).with_name(_NAME)
    file = shipped if shipped.exists() else Path(__file__).parents[2] / _NAME
    return file.read_text(encoding="utf-8") if file.exists() else ""
