"""Many values of a request field brought down to the few that a rule says matter.

Before the key is made and the origin asked, so that either sees the few alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from origin_sdk_wire.directives import split_list
from origin_sdk_wire.memo import remember_short
from origin_sdk_wire.rules import KeyRule

__all__ = ["DEVICES", "SOURCES", "device_class", "negotiated", "offered_language", "offered_type"]

SOURCES = ("accept", "accept-language", "sec-ch-ua-mobile", "user-agent")
"""The request fields from which the values are made."""

DEVICES = ("desktop", "mobile", "tablet")

_WEIGHT = re.compile(r";[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*(?:;|$)", re.IGNORECASE)
"""A parameter of that name is the weight wherever it stands (RFC 9110 section 12.5.1)."""
# Android says Mobile on phones alone; iPads of today say Macintosh, and can't be told from one.
_TABLET = re.compile(r"iPad|Tablet|PlayBook|Silk(?!.*Mobile)|Kindle|Android(?!.*Mobile)", re.IGNORECASE)
_MOBILE = re.compile(r"Mobi|iPhone|iPod|Windows Phone|Opera Mini", re.IGNORECASE)


def negotiated(rule: KeyRule, fields: Mapping[str, str]) -> Mapping[str, str]:
    """Return the fields that a rule sets in place of a client's, by name in lower case."""
    values: dict[str, str] = {}
    if rule.languages:
        values["accept-language"] = offered_language(fields.get("accept-language", ""), rule.languages)
    if rule.media_types:
        values["accept"] = offered_type(fields.get("accept", ""), rule.media_types)
    if rule.device_field:
        values[rule.device_field] = device_class(
            fields.get("user-agent", ""), fields.get("sec-ch-ua-mobile", "")
        )
    return values


@remember_short(1024)
def offered_language(accepted: str, offered: Sequence[str]) -> str:
    """Return which of the languages on offer a client gets: by lookup (RFC 4647 section 3.4), else the first.

    Sections of a range are taken off its end until it is one that is offered; what has a weight of 0 is none.
    """
    by_tag = {tag.lower(): tag for tag in offered}
    weighted = [(weight, tag.partition(";")[0].strip()) for weight, tag in _weighted(accepted)]
    refused = {tag for weight, tag in weighted if not weight}
    for _, tag in sorted((each for each in weighted if each[0]), key=lambda each: -each[0]):
        subtags = tag.split("-")
        while subtags:
            found = "-".join(subtags)
            if found in by_tag and found not in refused:
                return by_tag[found]
            del subtags[-2 if len(subtags) > 1 and len(subtags[-2]) == 1 else -1 :]
    return next((tag for tag in offered if not _is_covered(tag.lower(), refused)), offered[0])


def _is_covered(tag: str, ranges: Iterable[str]) -> bool:
    """Whether any of the ranges is a tag, or what it begins with (RFC 4647 section 3.3.1)."""
    return any(f"{tag}-".startswith(f"{each}-") for each in ranges)


@remember_short(1024)
def offered_type(accepted: str, offered: Sequence[str]) -> str:
    """Return which of the media types on offer a client prefers (RFC 9110 section 12.5.1), else the first."""
    weights: dict[str, float] = {}
    # What has parameters is more special than what is offered, and counts where nothing else says more.
    for weight, kind in sorted(_weighted(accepted), key=lambda each: ";" in each[1]):
        weights.setdefault(kind.partition(";")[0].strip(), weight)

    def weight_of(kind: str) -> float:
        ranges = (kind, f"{kind.partition('/')[0]}/*", "*/*")
        return next((weights[each] for each in ranges if each in weights), 0)

    return max(offered, key=lambda kind: weight_of(kind.lower()))


def _weighted(accepted: str) -> Iterator[tuple[float, str]]:
    for member in split_list(accepted.lower()):
        found = _WEIGHT.search(member)
        name = member[: found.start()] if found else member
        yield (float(found[1]) if found else 1.0), name.strip()


@remember_short(1024)
def device_class(agent: str, is_mobile: str) -> str:
    """Return which of :data:`DEVICES` a client is, by User-Agent and Sec-CH-UA-Mobile."""
    if _TABLET.search(agent):
        return "tablet"
    return "mobile" if is_mobile == "?1" or _MOBILE.search(agent) else "desktop"
