"""A service as people write them with FastAPI: JWT, SQLModel, dependencies.

usage: python -m tests.runtime.services.fastapi_shop PORT
"""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import jwt
import uvicorn
from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import OAuth2PasswordBearer
from sqlalchemy.pool import StaticPool
from sqlmodel import Field, Relationship, Session, SQLModel, create_engine, select
from starlette.middleware.gzip import GZipMiddleware

from origin_sdk.asgi import CacheFields, add_groups, belongs_to_user, cache_for, invalidate
from origin_sdk.forwarded import ForwardedHost

SECRET = "of no account, and long enough for HS256"  # noqa: S105 - it is said to be none
PAGE = 2
_HOUR = timedelta(hours=1)


class Category(SQLModel, table=True):
    """What products are of."""

    id: int | None = Field(default=None, primary_key=True)
    name: str
    products: list["Product"] = Relationship(back_populates="category")


class ProductOut(SQLModel):
    """A product as clients see it."""

    id: int | None = Field(default=None, primary_key=True)
    name: str
    price: int


class Product(ProductOut, table=True):
    """What is sold."""

    category_id: int | None = Field(default=None, foreign_key="category.id")
    category: Category | None = Relationship(back_populates="products")


class Page(SQLModel):
    """A page of products."""

    items: list[ProductOut]
    next: str | None


class Price(SQLModel):
    """A new price."""

    price: int


engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


def opened() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


bearer = OAuth2PasswordBearer(tokenUrl="token", auto_error=False)


def token_of(user: str) -> str:
    """Return a token (RFC 7519) that names the user for an hour."""
    return jwt.encode({"sub": user, "exp": datetime.now(UTC) + _HOUR}, SECRET, "HS256")  # noqa: TID251 - as services do


def current_user(
    token: Annotated[str | None, Depends(bearer)], cookie: Annotated[str, Cookie(alias="jwt")] = ""
) -> str:
    try:
        claims = jwt.decode(token or cookie, SECRET, ["HS256"], options={"require": ["sub", "exp"]})
    except jwt.InvalidTokenError:
        raise HTTPException(401, "log in first", {"WWW-Authenticate": "Bearer"}) from None
    return str(claims["sub"])


OpenSession = Annotated[Session, Depends(opened)]
User = Annotated[str, Depends(current_user)]
app = FastAPI()
app.add_middleware(GZipMiddleware)
app.add_middleware(CacheFields)
app.add_middleware(ForwardedHost)


@app.middleware("http")
async def trace(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["X-Trace"] = request.url.path
    return response


@app.get("/products")
def list_products(request: Request, session: OpenSession, offset: int = 0) -> Page:
    cache_for(300, stale_while_revalidate=60, for_everyone=True)
    add_groups("products")
    found = session.exec(select(Product).order_by("id").offset(offset).limit(PAGE + 1)).all()
    following = request.url_for("list_products").include_query_params(offset=offset + PAGE)
    items = [ProductOut.model_validate(each) for each in found[:PAGE]]
    return Page(items=items, next=str(following) if len(found) > PAGE else None)


@app.get("/products/{number}")
def read_product(number: int, session: OpenSession) -> ProductOut:
    cache_for(300, negative=30, for_everyone=True)
    add_groups(f"product-{number}")
    product = session.get(Product, number)
    if product is None:
        raise HTTPException(404)
    return ProductOut.model_validate(product)


@app.put("/products/{number}")
def change_product(number: int, price: Price, session: OpenSession, user: User) -> ProductOut:
    del user
    product = session.get_one(Product, number)
    product.price = price.price
    session.add(product)
    session.commit()
    session.refresh(product)
    invalidate("products", f"product-{number}")
    return ProductOut.model_validate(product)


@app.post("/token")
def log_in(user: str, response: Response) -> dict[str, str]:
    token = token_of(user)
    response.set_cookie("jwt", token, httponly=True)
    return {"access_token": token, "token_type": "bearer"}


@app.get("/me")
def read_me(user: User) -> dict[str, str]:
    belongs_to_user()
    return {"user": user}


@app.get("/greeting")
def greet(request: Request) -> dict[str, str]:
    """Greet, with the mistake of declaring so that this is for everyone."""
    cache_for(300)
    return {"hello": request.cookies.get("jwt", "stranger")}


@app.get("/orders/{number}")
def read_order(number: int, user: User) -> dict[str, str]:
    """Refuse, before anything is said of caching."""
    raise HTTPException(404, f"{user} has no order {number}")


@app.get("/products/", include_in_schema=False)
def move(request: Request) -> Response:
    return Response(status_code=308, headers={"Location": str(request.url_for("list_products"))})


@app.get("/addresses")
def read_addresses(request: Request) -> dict[str, str]:
    return {"self": str(request.url), "base": str(request.base_url)}


def fill() -> None:
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        food = Category(name="food")
        session.add_all(Product(name=name, price=1, category=food) for name in ("soup", "bread", "cheese"))
        session.commit()


if __name__ == "__main__":
    fill()
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", ws="none")
