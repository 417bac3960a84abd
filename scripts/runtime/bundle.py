"""Build the Pyodide bundle that workerd otherwise downloads at its first start.

workerd loads a bundle named `dev` from its bundle folder when a Worker carries the compatibility
flag `python_workers_development`. The bundle is one Cap'n Proto message with three modules: the
glue code, the interpreter and the standard library of the npm package `pyodide`. Only the glue
code is changed, so that what it takes from the browser comes from workerd.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import capnp

from scripts.runtime import paths

_BUNDLE = paths.PYODIDE / "pyodide_dev.capnp.bin"
_MODULE_PREFIX = "pyodideRuntime-internal:"
_SCHEMA = Path(__file__).with_name("bundle.capnp")
_PRELUDE = """\
import {
  addEventListener, getRandomValues, location, monotonicDateNow, newWasmModule, wasmInstantiate,
} from "pyodide-internal:builtin_wrappers";
"""


class BundleError(Exception):
    """The npm package `pyodide` does not look as this script expects."""


@dataclass(frozen=True, slots=True)
class _Change:
    """One textual change to the glue code: where the browser is asked for what workerd lends."""

    pattern: str
    replacement: str

    def apply(self, source: str) -> str:
        changed, count = re.subn(self.pattern, self.replacement, source)
        if count == 0:
            raise BundleError(
                f"pyodide.asm.mjs has nothing that matches {self.pattern!r}: check that package.json pins "
                "the version of `pyodide` that the pinned workerd names, then adapt scripts/runtime/bundle.py"
            )
        return changed


_CHANGES = (
    _Change(r"\bnew WebAssembly\.Module\(", "newWasmModule("),
    _Change(r"\bWebAssembly\.instantiate\(", "wasmInstantiate("),
    _Change(r"\bcrypto\.getRandomValues\(", "getRandomValues(Module, "),
    _Change(r"\bDate\.now\b", "monotonicDateNow"),
    _Change(r"\bexport default _createPyodideModule\b", "export { _createPyodideModule }"),
)


def adapt_glue(source: str) -> str:
    """Return pyodide.asm.mjs as workerd needs it. Raises BundleError if a change finds no place."""
    for change in _CHANGES:
        source = change.apply(source)
    return _PRELUDE + source


def build(package: Path, bundle: Path) -> None:
    """Write the bundle made from the npm package in the folder `package` to the file `bundle`."""
    glue = adapt_glue((package / "pyodide.asm.mjs").read_text(encoding="utf-8"))
    interpreter = (package / "pyodide.asm.wasm").read_bytes()
    library = (package / "python_stdlib.zip").read_bytes()
    message = capnp.load(str(_SCHEMA)).Bundle.new_message(
        modules=[
            {"name": f"{_MODULE_PREFIX}pyodide.asm", "type": "internal", "src": glue.encode()},
            {"name": f"{_MODULE_PREFIX}pyodide.asm.wasm", "type": "internal", "wasm": interpreter},
            {"name": f"{_MODULE_PREFIX}python_stdlib.zip", "type": "internal", "data": library},
        ]
    )
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(message.to_bytes())


if __name__ == "__main__":
    build(paths.NODE_MODULES / "pyodide", _BUNDLE)
