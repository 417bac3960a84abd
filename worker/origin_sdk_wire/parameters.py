"""Parameters of a query, read so that no two frameworks could read them differently."""

from collections.abc import Mapping

from origin_sdk_wire.key import Target
from origin_sdk_wire.rules import decoded_name

__all__ = ["parameters_of"]


def parameters_of(target: Target, names: tuple[str, ...]) -> Mapping[str, str] | None:
    """Return the values, percent-encoded as they came, of those parameters that have one of ``names``.

    ``None`` if one of them comes twice: frameworks disagree about which counts.
    """
    found: dict[str, str] = {}
    if not names or target.query is None:
        return found
    for parameter in target.query.split("&"):
        name, _, value = parameter.partition("=")
        name = decoded_name(name)
        if name in names:
            if name in found:
                return None
            found[name] = value
    return found
