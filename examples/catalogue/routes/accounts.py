"""What belongs to one user: the profile and the basket, behind demo tokens."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from examples.catalogue import reading, writing
from examples.catalogue.caching import PERSONAL, UNSTORED, Representation, cache_fields, conditional_response
from examples.catalogue.context import DatabaseSession, ProductId
from examples.catalogue.errors import UnauthenticatedError
from examples.catalogue.schemas import Basket, Profile, Quantity

router = APIRouter(prefix="/me", tags=["accounts"])


@dataclass(frozen=True, slots=True)
class User:
    """Someone who may log in; their password is that there is none."""

    id: str
    name: str
    email: str
    language: str


TOKENS = {
    "demo-alice": User("alice", "Alice Archer", "alice@example.com", "en"),
    "demo-bob": User("bob", "Bob Brandt", "bob@example.com", "de"),
}

_bearer = HTTPBearer(auto_error=False, description="demo-alice or demo-bob")


def _current_user(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> User:
    user = TOKENS.get(credentials.credentials) if credentials is not None else None
    if user is None:
        raise UnauthenticatedError(
            f"send Authorization: Bearer with one of the demo tokens: {', '.join(TOKENS)}"
        )
    return user


CurrentUser = Annotated[User, Depends(_current_user)]


@router.get("", response_model=Profile)
def read_profile(request: Request, user: CurrentUser) -> Response:
    """Show the user's profile: for the user's own cache only, and validated on each use."""
    profile = Profile(user=user.id, name=user.name, email=user.email, language=user.language)
    representation = Representation(
        body=profile.model_dump_json().encode(), lifetimes=PERSONAL, fields={"Vary": "Authorization"}
    )
    return conditional_response(request, representation)


@router.get("/basket", response_model=Basket)
def read_basket(session: DatabaseSession, user: CurrentUser) -> Response:
    """Show the user's basket: for no cache at all."""
    return _basket(session, user)


@router.put("/basket/{product_id:int}", response_model=Basket)
def put_into_basket(
    session: DatabaseSession, user: CurrentUser, product_id: ProductId, wanted: Quantity
) -> Response:
    """Make the basket hold so many of the product."""
    product = reading.product_by_id(session, product_id)
    writing.put_into_basket(session, user.id, product, wanted.quantity)
    return _basket(session, user)


@router.delete("/basket/{product_id:int}", response_model=Basket)
def take_from_basket(session: DatabaseSession, user: CurrentUser, product_id: ProductId) -> Response:
    """Remove the product from the basket."""
    writing.take_from_basket(session, user.id, product_id)
    return _basket(session, user)


def _basket(session: Session, user: User) -> Response:
    basket = Basket.of(user.id, reading.basket_of(session, user.id))
    fields = cache_fields(UNSTORED) | {"Vary": "Authorization"}
    return Response(basket.model_dump_json(), headers=fields, media_type="application/json")
