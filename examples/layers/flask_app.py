"""Flask: `flask --app examples.layers.flask_app run`. Without REDIS_URL it has memory alone."""

import os
from dataclasses import dataclass

from flask import Flask, jsonify
from flask.typing import ResponseReturnValue

from origin_sdk.layers import LayeredCache, Policy

app = Flask(__name__)
cache = LayeredCache(os.environ.get("REDIS_URL"))
NAMES = {17: "lamp"}


@dataclass
class Product:
    """What the API returns."""

    id: int
    name: str


@cache.cached("{number}", groups=("product-{number}",), policy=Policy(lifetime=60, stale=300, fail_safe=3600))
def product(number: int) -> Product | None:
    """Stands for a query that takes its time."""
    return Product(number, NAMES[number]) if number in NAMES else None


@app.get("/products/<int:number>")
def read(number: int) -> ResponseReturnValue:
    """Answer from the cache; None is kept as well."""
    found = product(number)
    return jsonify(found), 200 if found else 404


@app.put("/products/<int:number>/<name>")
def rename(number: int, name: str) -> ResponseReturnValue:
    """Write, then invalidate."""
    NAMES[number] = name
    cache.invalidate(groups=[f"product-{number}"])
    return "", 204
