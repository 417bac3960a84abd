"""A service as people write them with Flask: forms with CSRF tokens, a login in the session, migrations.

Its tables are made by Alembic's revisions in flask_migrations, as `flask db upgrade` runs them.

usage: python -m tests.runtime.services.flask_shop PORT
"""

import sys
from pathlib import Path
from typing import Any

from flask import Flask, abort, flash, get_flashed_messages, redirect, request, session, url_for
from flask_migrate import Migrate, upgrade
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import FlaskForm
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import StaticPool
from werkzeug.middleware.proxy_fix import ProxyFix
from wtforms import IntegerField, StringField
from wtforms.validators import DataRequired

from origin_sdk.flask import CacheFields, add_groups, belongs_to_user, cache_for, invalidate

MIGRATIONS = Path(__file__).parent / "flask_migrations"
PAGE = 2

app = Flask(__name__)
app.config["SECRET_KEY"] = "of no account"  # noqa: S105 - it is said to be none
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
    "poolclass": StaticPool,
    "connect_args": {"check_same_thread": False},
}
# What Flask behind the Worker needs: docs/frameworks.md
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=0, x_proto=1, x_host=1)  # type: ignore[method-assign]  # Flask's own way
CacheFields(app)


class Base(DeclarativeBase):
    """The models."""


db = SQLAlchemy(app, model_class=Base)
Migrate(app, db, directory=str(MIGRATIONS))


class Product(Base):
    """What is sold."""

    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int]

    def as_json(self) -> dict[str, Any]:
        """Return the product as clients see it."""
        return {"id": self.id, "name": self.name, "price": self.price}


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
    rows = db.session.scalars(select(Product).order_by(Product.id).offset(offset).limit(PAGE + 1)).all()
    following = url_for("list_products", offset=offset + PAGE, _external=True) if len(rows) > PAGE else None
    return {"items": [row.as_json() for row in rows[:PAGE]], "next": following}


@app.get("/products/<int:number>")
def read_product(number: int) -> dict[str, Any]:
    cache_for(300, negative=30)
    add_groups(f"product-{number}")
    product = db.session.get(Product, number)
    return product.as_json() if product else abort(404)


@app.route("/products/<int:number>/price", methods=["GET", "POST"])
def change_price(number: int) -> Any:
    belongs_to_user("has a CSRF token")
    form = PriceForm()
    if "user" not in session:
        return redirect(url_for("log_in", _external=True))
    if not form.validate_on_submit():
        return f"<form method=post>{form.hidden_tag()}{form.price()}</form>"
    db.get_or_404(Product, number).price = form.price.data
    db.session.commit()
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
    with app.app_context():
        upgrade()
        db.session.add_all(Product(name=name, price=1) for name in ("soup", "bread", "cheese"))
        db.session.commit()


if __name__ == "__main__":
    fill()
    app.run("127.0.0.1", int(sys.argv[1]), threaded=True)
