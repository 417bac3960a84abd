"""Which tables a statement of SQL seems to write to: for what comes as text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["TextualWrite", "textual_writes"]


@dataclass(frozen=True, slots=True)
class TextualWrite:
    """A part of a statement that writes: its ``verb``, and tables in lower case, without their schemas."""

    verb: str
    tables: frozenset[str]

    @property
    def may_delete(self) -> bool:
        """Whether rows go."""
        return self.verb in {"delete", "truncate"}


# Each in time that grows with the text alone: no part can be matched in two ways. A quote that is doubled
# ends a literal and begins another, which comes to the same.
_QUOTED = re.compile(r"""'[^']*+'?|"[^"]*+"?|--[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?""")
_NAME = r"[\w.\"`\[\]]++"
_WRITTEN = re.compile(
    r"\b(update(?:\s++or\s++\w++)?(?:\s++only\b)?|into|copy|delete\s++from(?:\s++only\b)?|truncate(?:\s++table\b)?(?:\s++only\b)?)"
    rf"\s++({_NAME}(?:\s*+,\s*+{_NAME})*+)",
    re.IGNORECASE,
)


def textual_writes(statement: str) -> Iterator[TextualWrite]:
    """Yield the writes of a statement, or of several; what stands in literals and comments isn't one."""
    start = statement.lstrip()[:6].lower()
    if start == "select" and ";" not in statement and "into" not in statement.lower():
        return
    for verb, names in _WRITTEN.findall(_QUOTED.sub(_without_text, statement)):
        tables = frozenset(name.strip().rpartition(".")[2].strip('"`[]').lower() for name in names.split(","))
        first = verb.split(None, 1)[0].lower()
        yield TextualWrite("insert" if first in {"into", "copy"} else first, tables)


def _without_text(quoted: re.Match[str]) -> str:
    text = quoted[0]
    return text if text.startswith('"') else "''" if text.startswith("'") else " "
