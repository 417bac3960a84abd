"""A time of day of a program's own."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["ShiftedClock"]

_SOURCE: Final = Path(__file__).with_name("clock_shift.c")


class ShiftedClock:
    """The time of day of one program, which can be stepped. Needs a C compiler."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self.step(0.0)
        library = file.with_suffix(".so")
        subprocess.run(  # noqa: S603 - our own arguments, no shell
            ("cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE)),  # noqa: S607 - of PATH
            check=True,
        )
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(file)}

    def step(self, seconds: float) -> None:
        """Let the program see a time that is so far ahead of the machine's, or back."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("d", seconds))

    @staticmethod
    def is_possible() -> bool:
        """Whether there is a compiler."""
        return shutil.which("cc") is not None
