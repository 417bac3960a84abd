"""What comes back instead of a reply of Redis. Known to who never imports redis-py."""

from enum import Enum
from typing import Final

__all__ = ["FAILED", "Failed"]


class Failed(Enum):
    """No answer, or an error: the layer is left out."""

    FAILED = "failed"


FAILED: Final = Failed.FAILED
