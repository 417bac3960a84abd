"""The endpoints, one module a resource; each module offers a `router`."""
