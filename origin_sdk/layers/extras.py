"""Imported first: says which extra is missing, before something else says which of its packages is."""

try:
    import msgspec  # noqa: F401 - that it is there
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "origin_sdk.layers needs packages: pip install 'origin-sdk[layers]'", name=_error.name
    ) from _error
