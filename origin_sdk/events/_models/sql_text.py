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


_LITERAL = re.compile(r"'(?:[^']|'')*'")
_NAME = r"[\w.\"`\[\]]+"
_WRITTEN = re.compile(
    r"\b(update(?:\s+only)?|(?:insert|replace|merge)(?:\s+\w+)*?\s+into|into|copy|"
    rf"delete\s+from(?:\s+only)?|truncate(?:\s+table)?(?:\s+only)?)\s+({_NAME}(?:\s*,\s*{_NAME})*)",
    re.IGNORECASE,
)


def textual_writes(statement: str) -> Iterator[TextualWrite]:
    """Yield the writes of a statement; what stands in literals isn't one."""
    start = statement.lstrip()[:6].lower()
    if start == "select" and "into" not in statement.lower():
        return
    for verb, names in _WRITTEN.findall(_LITERAL.sub("''", statement)):
        tables = frozenset(name.strip().rpartition(".")[2].strip('"`[]').lower() for name in names.split(","))
        first = verb.split(None, 1)[0].lower()
        yield TextualWrite("insert" if first in {"into", "replace", "merge", "copy"} else first, tables)
