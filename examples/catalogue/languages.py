"""Choice of a language by Accept-Language (RFC 9110 section 12.5.4)."""

from typing import Final

LANGUAGES: Final = ("en", "de", "fr")
DEFAULT: Final = "en"


def preferred_language(accept_language: str | None) -> str:
    """Return the one of LANGUAGES that the client weighs highest; DEFAULT where it accepts none of them."""
    ranges = [_language_range(member) for member in (accept_language or "").split(",")]
    # The sort is stable: of two with the same weight, the one named first wins.
    for weight, primary in sorted(ranges, key=lambda each: -each[0]):
        if weight > 0 and primary in LANGUAGES:
            return primary
        if weight > 0 and primary == "*":
            return DEFAULT
    return DEFAULT


def _language_range(member: str) -> tuple[float, str]:
    name, _, parameter = member.partition(";")
    primary = name.strip().lower().split("-")[0]
    return _weight(parameter), primary


def _weight(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
