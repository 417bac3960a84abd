"""Names as they appear in a URL."""

import re
import unicodedata


def slugify(name: str) -> str:
    """Return the name in lower-case ASCII words joined by hyphens; empty if nothing of it is left."""
    plain = unicodedata.normalize("NFKD", name.replace("'", "")).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", plain.lower()))
