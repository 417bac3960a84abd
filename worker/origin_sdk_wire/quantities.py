"""Durations and sizes as settings have them: numbers, or strings such as ``5m`` and ``25MiB``."""

from collections.abc import Mapping
from math import isfinite

__all__ = ["BYTES", "SECONDS", "quantity"]

SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
BYTES = {
    "": 1.0,
    "B": 1.0,
    "kB": 1e3,
    "KB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": float(1 << 10),
    "MiB": float(1 << 20),
    "GiB": float(1 << 30),
}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def quantity(value: object, units: Mapping[str, float]) -> float:
    """Read a finite number with one of ``units`` behind it; raises ValueError without a message."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number, unit = float(value), ""
    else:
        written = value.strip() if isinstance(value, str) else ""
        digits = written.rstrip(_LETTERS)
        number, unit = float(digits), written[len(digits) :]
    if unit not in units or not isfinite(number):
        raise ValueError
    return round(number * units[unit], 6)
