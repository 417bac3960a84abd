"""What the body of a JSON response says of itself: errors inside a 200, and the groups that it belongs to."""

import json
import re
from collections.abc import Iterator

from origin_sdk_wire.bounds import MAX_GROUPS
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.marks import is_group
from origin_sdk_wire.rules import KeyBody
from origin_sdk_wire.settings import Rule
from origin_sdk_wire.strict_json import shallow

__all__ = ["named_groups", "read_answer"]

_PLACE = re.compile(r"\{([^{}]+)\}")


def read_answer(status: int, body: bytes, rule: Rule) -> tuple[str, ...] | Reason:
    """Return the groups that ``body`` names by the rule's ``groups_from``, or why it isn't stored.

    Of a success nothing may stay unread: it would miss the purges of its groups. Other answers may have a
    body of any kind.
    """
    try:
        value = json.loads(shallow(body.decode())) if body else None
    except ValueError:
        return Reason.ANSWER_UNREAD if 200 <= status < 300 else ()
    if rule.body is KeyBody.GRAPHQL and isinstance(value, dict) and value.get("errors"):
        return Reason.GRAPHQL_ERRORS
    groups = dict.fromkeys(name for template in rule.groups_from for name in named_groups(template, value))
    return Reason.TOO_MANY_GROUPS if len(groups) > MAX_GROUPS else tuple(groups)


def named_groups(template: str, value: object) -> Iterator[str]:
    """Yield the groups of a template, such as ``product-{data.product.id}``; a plain path is the name."""
    found = _PLACE.search(template)
    path = found[1] if found else template
    for each in _at(value, path.split(".")):
        name = f"{template[: found.start()]}{each}{template[found.end() :]}" if found else each
        if is_group(name):  # else no purge can name it either
            yield name


def _at(value: object, steps: list[str]) -> Iterator[str]:
    """Yield the texts and whole numbers at a path; a list stands for each of its items."""
    if isinstance(value, list):
        for each in value:
            yield from _at(each, steps)
    elif steps:
        if isinstance(value, dict) and steps[0] in value:
            yield from _at(value[steps[0]], steps[1:])
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)
