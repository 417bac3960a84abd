"""A service as people write them with Flask: forms with CSRF tokens, a login in the session, flashed words.

usage: python -m tests.runtime.services.flask_shop PORT
"""

import sys
from typing import Any

from flask import Flask, abort, flash, get_flashed_messages, redirect, request, session, url_for
from flask_wtf import FlaskForm
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, select, update
from sqlalchemy.pool import StaticPool
from werkzeug.middleware.proxy_fix import ProxyFix
from wtforms import IntegerField, StringField
from wtforms.validators import DataRequired

from origin_sdk.flask import CacheFields, add_groups, belongs_to_user, cache_for, invalidate

engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
metadata = MetaData()
products = Table(
    "products",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String),
    Column("price", Integer),
)
PAGE = 2

app = Flask(__name__)
app.config["SECRET_KEY"] = "of no account"  # noqa: S105 - it is said to be none
# What Flask behind the Worker needs: docs/frameworks.md
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=1, x_host=1)  # type: ignore[method-assign]  # Flask's own way
CacheFields(app)


class LoginForm(FlaskForm):
    """Who one says to be: the tests take everyone's word."""

    name = StringField(validators=[DataRequired()])


class PriceForm(FlaskForm):
    """A new price."""

    price = IntegerField(validators=[DataRequired()])


@app.get("/products")
def list_products() -> dict[str, Any]:
    cache_for(300, stale_while_revalidate=60)
    add_groups("products")
    offset = request.args.get("offset", 0, int)
    with engine.connect() as connection:
        rows = (
            connection.execute(select(products).order_by("id").offset(offset).limit(PAGE + 1))
            .mappings()
            .all()
        )
    following = url_for("list_products", offset=offset + PAGE, _external=True) if len(rows) > PAGE else None
    return {"items": [dict(row) for row in rows[:PAGE]], "next": following}


@app.get("/products/<int:number>")
def read_product(number: int) -> dict[str, Any]:
    cache_for(300, negative=30)
    add_groups(f"product-{number}")
    with engine.connect() as connection:
        row = connection.execute(select(products).where(products.c.id == number)).mappings().first()
    return dict(row) if row else abort(404)


@app.route("/products/<int:number>/price", methods=["GET", "POST"])
def change_price(number: int) -> Any:
    belongs_to_user("has a CSRF token")
    form = PriceForm()
    if "user" not in session:
        return redirect(url_for("log_in", _external=True))
    if not form.validate_on_submit():
        return f"<form method=post>{form.hidden_tag()}{form.price()}</form>"
    with engine.begin() as connection:
        connection.execute(update(products).where(products.c.id == number).values(price=form.price.data))
    invalidate("products", f"product-{number}")
    return redirect(url_for("read_product", number=number, _external=True), 303)


@app.route("/login", methods=["GET", "POST"])
def log_in() -> Any:
    form = LoginForm()
    if form.validate_on_submit():
        session["user"] = form.name.data
        flash(f"welcome, {form.name.data}")
        return redirect(url_for("read_me", _external=True))
    return f"<form method=post>{form.hidden_tag()}{form.name()}</form>"


@app.get("/form")
def show_form() -> str:
    """Show a form with a CSRF token, with the mistake of declaring so that this is for everyone."""
    cache_for(300)
    return f"<form>{PriceForm().hidden_tag()}</form>"


@app.get("/me")
def read_me() -> dict[str, Any]:
    cache_for(300)
    if "user" not in session:
        abort(403)
    return {"user": session["user"], "words": get_flashed_messages()}


@app.get("/greeting")
def greet() -> dict[str, str]:
    cache_for(300)
    return {"hello": request.cookies.get("jwt", "stranger")}


@app.get("/addresses")
def addresses() -> dict[str, str]:
    return {"self": request.url}


def fill() -> None:
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(
            insert(products), [{"name": name, "price": 1} for name in ("soup", "bread", "cheese")]
        )


if __name__ == "__main__":
    fill()
    app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
