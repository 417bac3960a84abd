"""The ports met in workerd: the only place, with ``entry.py``, that imports ``js`` and ``pyodide``."""
