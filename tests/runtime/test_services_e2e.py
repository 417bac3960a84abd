"""Services as people write them, behind the real Worker: two users, hits where expected, purges on change."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from origin_sdk._development import watchdog
from scripts.runtime.ports import free_port
from scripts.runtime.workerd import Workerd
from scripts.runtime.workerd_config import Json
from tests.runtime.edge import eventually, running
from tests.runtime.origin import ScriptedOrigin

ROOT = Path(__file__).resolve().parents[2]
ERRORS: Mapping[str, Json] = {str(status): "1m" for status in (401, 403, 404)}
VARIABLES: Mapping[str, Json] = {
    "MARK_INTERVAL": "300ms",
    # The worst that an operator may say: errors are kept for all.
    "RULES": [{"path": "/**", "negative_lifetimes": ERRORS}],
}


@dataclass(frozen=True)
class Service:
    """A service: where it shows what, and how one logs in and changes a price."""

    name: str
    products: str
    product: str
    me: str
    me_refused: int
    personal: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        return f"{self.name}.example"

    @property
    def site(self) -> str:
        return f"http://{self.host}"


FASTAPI = Service("fastapi", "/products", "/products/1", "/me", 401, ("/greeting", "/orders/7"))
DJANGO = Service(
    "django", "/api/products/", "/api/products/1/", "/api/me/", 403, ("/greeting/", "/api/products/mine/")
)
FLASK = Service("flask", "/products", "/products/1", "/me", 403, ("/greeting", "/form"))
SERVICES = (FASTAPI, DJANGO, FLASK)


@dataclass
class Shop:
    """A service that runs, behind the Worker and by itself."""

    service: Service
    edge: str
    origin: str
    clients: list[httpx.Client] = field(default_factory=list)

    def client(self, base: str = "") -> httpx.Client:
        """A client with a cookie jar of its own, who asks for the service's public host."""
        client = httpx.Client(base_url=base or self.edge, headers={"host": self.service.host}, timeout=30)
        self.clients.append(client)
        return client

    def user(self, name: str) -> httpx.Client:
        """Log in as a person with a browser does, or with a token."""
        client = self.client()
        match self.service.name:
            case "fastapi":
                token = client.post("/token", params={"user": name}).raise_for_status().json()["access_token"]
                client.headers["authorization"] = f"Bearer {token}"
            case "django":
                form = client.get("/login/").raise_for_status()
                answer = client.post(
                    "/login/",
                    data={"username": name, "password": name, "csrfmiddlewaretoken": token_in(form)},
                    headers={"origin": self.service.site, "referer": f"{self.service.site}/login/"},
                )
                assert (answer.status_code, answer.headers["location"]) == (302, "/api/me/"), answer.text
            case "flask":
                form = client.get("/login").raise_for_status()
                answer = client.post("/login", data={"name": name, "csrf_token": token_in(form)})
                assert answer.headers["location"] == f"{self.service.site}/me", answer.text
        return client

    def change_price(self, user: httpx.Client, price: int) -> None:
        path = self.service.product
        match self.service.name:
            case "fastapi":
                user.put(path, json={"price": price}).raise_for_status()
            case "django":
                token = {"authorization": "Token token-of-alice", "cookie": ""}
                self.client().patch(path, json={"price": price}, headers=token).raise_for_status()
            case "flask":
                form = user.get(f"{path}/price").raise_for_status()
                data = {"price": str(price), "csrf_token": token_in(form)}
                answer = user.post(f"{path}/price", data=data)
                assert answer.headers["location"] == f"{self.service.site}{path}", answer.text


def token_in(form: httpx.Response) -> str:
    found = re.search(r'name="(?:csrfmiddlewaretoken|csrf_token)"[^>]* value="([^"]+)"', form.text)
    assert found, form.text
    return found[1]


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Each service in a process of its own."""
    found = {service.name: free_port() for service in SERVICES}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"tests.runtime.services.{name}_shop", str(port)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for name, port in found.items()
    ]
    for process in started:
        watchdog.guard(process.pid)
    try:
        for port in found.values():
            eventually(lambda port=port: listens(port), f"a service on port {port}")  # type: ignore[misc]  # a default
        yield found
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def edges(
    ports: dict[str, int], running_origin: ScriptedOrigin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workerd]:
    workers = {name: {"ORIGIN": f"http://127.0.0.1:{port}", **VARIABLES} for name, port in ports.items()}
    with running(tmp_path_factory.mktemp("services"), running_origin, workers) as workerd:
        yield workerd


@pytest.fixture(params=SERVICES, ids=[service.name for service in SERVICES])
def shop(request: pytest.FixtureRequest, edges: Workerd, ports: dict[str, int]) -> Iterator[Shop]:
    service: Service = request.param
    made = Shop(service, edges.url(service.name), f"http://127.0.0.1:{ports[service.name]}")
    yield made
    for client in made.clients:
        client.close()


def is_hit(response: httpx.Response) -> bool:
    return "; hit" in response.headers.get("cache-status", "")


def test_what_is_the_same_for_everyone_is_hit_by_everyone(shop: Shop) -> None:
    stranger, alice = shop.client(), shop.user("alice")
    for path in (shop.service.products, shop.service.product):
        assert stranger.get(path).status_code == 200
        eventually(lambda path=path: is_hit(stranger.get(path)), "a hit")  # type: ignore[misc]  # a default
        assert is_hit(alice.get(path)), alice.get(path).headers


def test_links_and_redirects_name_the_public_host(shop: Shop) -> None:
    listed = shop.client().get(shop.service.products).json()
    assert listed["next"].startswith(f"{shop.service.site}{shop.service.products}?")
    following = shop.client().get(listed["next"].removeprefix(shop.service.site))
    assert following.status_code == 200
    addresses = shop.client().get("/addresses", follow_redirects=False)
    if addresses.is_redirect:  # Django's, for the slash
        addresses = shop.client().get(addresses.headers["location"].removeprefix(shop.service.site))
    assert addresses.json()["self"].startswith(f"{shop.service.site}/addresses")
    # As the Worker sends it for https.
    fields = {"x-forwarded-proto": "https", "x-forwarded-host": shop.service.host, "host": "127.0.0.1"}
    secure = shop.client(shop.origin).get(
        "/addresses/" if shop.service.name == "django" else "/addresses", headers=fields
    )
    assert secure.json()["self"].startswith(f"https://{shop.service.host}/addresses")


def test_what_is_one_user_s_never_comes_to_another(shop: Shop) -> None:
    alice, bob, stranger = shop.user("alice"), shop.user("bob"), shop.client()
    for client, name in ((alice, "alice"), (bob, "bob"), (alice, "alice")):
        answer = client.get(shop.service.me)
        assert answer.json()["user"] == name
        assert answer.headers["cache-control"] == "private, no-store"
    assert stranger.get(shop.service.me).status_code == shop.service.me_refused
    assert alice.get(shop.service.me).json()["user"] == "alice", "no refusal is kept for those who may"


def test_a_page_that_reads_a_user_s_data_and_says_otherwise_is_nobody_else_s(shop: Shop) -> None:
    alice, bob = shop.user("alice"), shop.user("bob")
    for path in shop.service.personal:
        for client, name in ((alice, "alice"), (bob, "bob")):
            if "jwt" not in client.cookies:
                client.cookies.set("jwt", name)
        mine, theirs = alice.get(path), bob.get(path)
        assert mine.headers["cache-control"] == "private, no-store", path
        assert mine.text != theirs.text, path
        assert not is_hit(theirs)


def test_a_change_is_seen_by_everyone(shop: Shop) -> None:
    stranger, alice = shop.client(), shop.user("alice")
    before = stranger.get(shop.service.product).json()["price"]
    eventually(lambda: is_hit(stranger.get(shop.service.product)), "a hit")
    shop.change_price(alice, before + 1)
    eventually(lambda: stranger.get(shop.service.product).json()["price"] == before + 1, "the new price")

    def listed() -> int:
        answer = stranger.get(shop.service.products).json()
        items = answer.get("items") or answer["results"]
        return int(items[0]["price"])

    eventually(lambda: listed() == before + 1, "the new price in the list")


def test_an_absence_is_kept_for_as_long_as_was_said(shop: Shop) -> None:
    path = shop.service.product.replace("1", "99")
    assert shop.client().get(path).status_code == 404
    eventually(lambda: is_hit(shop.client().get(path)), "a hit of an absence")
