"""The page in a real browser: what it shows, and how it is used."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from origin_sdk import PurgeClient
from origin_sdk._process.clock import SystemClock
from origin_sdk.dashboard.board import board
from origin_sdk.dashboard.holdings import Holdings
from origin_sdk.dashboard.ranges import RANGES
from origin_sdk.dashboard.sources import SourceHealth
from origin_sdk.dashboard.tallies import Tally
from origin_sdk.testing import FakeKV
from tests.dashboard.test_server import Opened
from tests.dashboard.worlds import HOST, Made, Still, huge, nothing, shop_step
from tests.sdk.records import store

pytestmark = pytest.mark.usefixtures("browser")

Serve = Callable[..., str]
URL = f"https://{HOST}/products/17"


@pytest.fixture
def shop() -> Still:
    return Still(shop_step)


def test_the_numbers_are_those_of_the_source(page: Page, serve: Serve, shop: Still) -> None:
    page.goto(serve(shop))
    expect(page.locator("#live")).to_have_text("live")
    shown = board(shop.window(RANGES["1h"], SystemClock().now()))
    expect(page.locator(".tile.hero .value")).to_contain_text(f"{shown['totals']['hit_ratio'] * 100:.1f} %")
    rules = page.locator("#rules tbody tr")
    expect(rules).to_have_count(len(shown["rules"]))
    for at, rule in enumerate(shown["rules"]):
        expect(rules.nth(at).locator("td").first).to_have_text(rule["name"])
    first = page.locator(".reason").first
    expect(first.locator("code").first).to_have_text(shown["reasons"][0]["reason"])
    remedies = page.locator(".remedy").all_inner_texts()
    assert any("Say max-age, or set default_lifetime in a rule." in each for each in remedies)
    expect(page.locator("#tiers-chart canvas")).to_be_visible()


def test_a_chart_is_a_table_too_and_says_what_it_shows(page: Page, serve: Serve, shop: Still) -> None:
    page.goto(serve(shop))
    chart = page.locator("#latency-chart")
    expect(chart.get_by_role("img")).to_have_attribute(
        "aria-label", re.compile(r"Origin latency\. p50 .*; p99 ")
    )
    chart.get_by_text("as a table").click()
    expect(chart.locator("thead th")).to_have_text(["time", "p50", "p95", "p99"])
    expect(chart.locator("tbody tr")).not_to_have_count(0)


def test_ranges_by_mouse_by_key_and_by_address(page: Page, serve: Serve, shop: Still) -> None:
    url = serve(shop)
    page.goto(f"{url}/#range=7d")
    expect(page.locator("#footer")).to_contain_text("The last week")
    page.get_by_label("24h").check()
    expect(page.locator("#footer")).to_contain_text("The last day")
    page.locator("body").press("3")
    expect(page.locator("#footer")).to_contain_text("The last 6 hours")
    page.get_by_label("6h").press("ArrowLeft")
    expect(page.locator("#footer")).to_contain_text("The last hour")
    assert page.url.endswith("#range=1h")


_FOCUSED = """() => {
  const node = document.activeElement;
  return node.id || node.name || node.dataset.url || node.closest("[id]")?.id;
}"""


def test_all_that_can_be_done_is_reached_by_keyboard(page: Page, serve: Serve, shop: Still) -> None:
    page.goto(serve(shop))
    expect(page.locator("#live")).to_have_text("live")
    reached: set[str] = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(_FOCUSED) or "")
    assert {"url", "range", "theme", "unit", "order", "rules", "tiers-chart"} <= reached
    assert any(each.startswith("https://") for each in reached)


def test_focus_and_open_tables_stay_while_numbers_change(page: Page, serve: Serve) -> None:
    page.goto(serve(Made(shop_step)))
    link = page.locator("#urls button").first
    link.focus()
    page.locator("#ratio-chart summary").click()
    link.focus()
    before = page.locator("#tiles").inner_text()
    page.wait_for_function("before => document.getElementById('tiles').innerText !== before", arg=before)
    expect(link).to_be_focused()
    expect(page.locator("#ratio-chart table")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page: Page, serve: Serve, shop: Still, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two
    page.goto(serve(shop))
    expect(page.locator("#live")).to_have_text("live")
    poor = page.evaluate(_CONTRAST)
    assert poor == []


_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color, under) => {
    canvas.fillStyle = under ? `rgb(${under.join(" ")})` : "#fff"; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const linear = (part) => (part /= 255) <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
  const light = (parts) => parts.map(linear).reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
  const ground = (node) => {
    const behind = [];
    for (let at = node; at; at = at.parentElement) behind.push(getComputedStyle(at).backgroundColor);
    return behind.reverse().reduce((under, color) => rgb(color, under), [255, 255, 255]);
  };
  const poor = new Set();
  for (const node of document.querySelectorAll("body *")) {  // WCAG 2.2, success criterion 1.4.3
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility() || node.closest(".hidden, .skip, noscript")) continue;
    const style = getComputedStyle(node), under = ground(node);
    const [high, low] = [light(rgb(style.color, under)), light(under)].sort((a, b) => b - a);
    const ratio = (high + .05) / (low + .05), size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const text = node.textContent.trim().slice(0, 30);
    if (ratio < least) poor.add(`${node.tagName}.${node.className} ${ratio.toFixed(2)}: ${text}`);
  }
  return [...poor];
}"""


def test_the_theme_is_chosen_and_remembered(page: Page, serve: Serve, shop: Still) -> None:
    url = serve(shop)
    page.emulate_media(color_scheme="light")
    page.goto(url)
    html = page.locator("html")
    expect(html).to_have_attribute("data-theme", "light")
    page.emulate_media(color_scheme="dark")
    expect(html).to_have_attribute("data-theme", "dark")
    page.locator("#theme").click()
    expect(html).to_have_attribute("data-theme", "light")
    page.reload()
    expect(html).to_have_attribute("data-theme", "light")


_TOO_WIDE = """() => [...document.querySelectorAll(".panel, .tile, .top")].filter((node) => {
  const box = node.getBoundingClientRect();
  return box.width && (box.right > innerWidth + 1 || box.left < -1);
}).map((node) => node.className)"""


@pytest.mark.parametrize("make", [shop_step, huge], ids=["shop", "huge"])
def test_nothing_is_wider_than_the_window(
    page: Page, serve: Serve, make: Callable[[float, float], Tally]
) -> None:
    page.goto(serve(Still(make, points=4)))
    expect(page.locator("#live")).to_have_text("live")
    for width in (2560, 1280, 768, 360):
        page.set_viewport_size({"width": width, "height": 800})
        page.evaluate(
            "() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(_TOO_WIDE) == []


def test_names_are_text_whatever_is_in_them(page: Page, serve: Serve) -> None:
    step = Tally()
    name = "<img src=x onerror=alert(1)>\u202e"
    step.counts.add("requests", ("<b>h</b>", name, "<script>", "miss", "2xx"), 5)
    step.urls["https://h/<img src=x onerror=alert(2)>"] = shop_step(0, 9).urls[f"https://{HOST}/products/3"]
    page.goto(serve(Still(lambda _, __: step, points=3)))
    expect(page.locator("#rules tbody td").first).to_have_text(name)
    assert page.locator("#rules img, #urls img, .reason script").count() == 0


def test_without_any_request_it_says_how_to_begin(page: Page, serve: Serve) -> None:
    page.goto(serve(Made(nothing)))
    expect(page.locator("#empty")).to_contain_text("Nothing was counted yet")
    expect(page.locator("#panels")).to_be_hidden()
    expect(page.locator(".tile.hero .value")).to_have_text("\u2013")


def test_a_source_that_fails_is_told_and_what_is_known_stays(page: Page, serve: Serve, shop: Still) -> None:
    page.goto(serve(shop))
    expect(page.locator("#live")).to_have_text("live")
    shop.health = SourceHealth(
        "failing", "the Worker refused: <b>set</b> EDGE_CACHE_DEBUG_SECRET", SystemClock().now() - 60
    )
    expect(page.locator("#notices")).to_contain_text("Worker's route: no numbers since")
    expect(page.locator("#notices")).to_contain_text("<b>set</b> EDGE_CACHE_DEBUG_SECRET")
    expect(page.locator("#live")).to_have_text("failing")
    expect(page.locator("#main")).to_have_class("old")
    expect(page.locator("#rules tbody tr").first).to_be_visible()
    shop.health = SourceHealth("ok", "", SystemClock().now())
    expect(page.locator("#notices")).to_be_empty()
    expect(page.locator("#live")).to_have_text("live")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(lambda route: route.abort(), "Failed to fetch", id="gone"),
        pytest.param(
            lambda route: route.fulfill(status=502, json={"error": "a word"}), "a word", id="an error"
        ),
        pytest.param(lambda route: route.fulfill(status=500, body="<html>"), "JSON", id="something else"),
    ],
)
def test_when_the_command_is_gone_the_page_says_so_and_comes_back(
    page: Page, serve: Serve, shop: Still, answer: Callable[[Route], None], text: str
) -> None:
    page.goto(serve(shop))
    expect(page.locator("#live")).to_have_text("live")
    page.route("**/api/board*", answer)
    expect(page.locator("#notices")).to_contain_text(text)
    expect(page.locator("#rules tbody tr").first).to_be_visible()
    page.unroute("**/api/board*")
    expect(page.locator("#notices")).to_be_empty(timeout=10_000)


def test_a_slow_answer_is_never_asked_for_twice_at_once(page: Page, serve: Serve, shop: Still) -> None:
    asked: list[Route] = []
    page.route("**/api/board*", lambda route: asked.append(route))  # noqa: PLW0108 - it sets attributes
    page.goto(serve(shop))
    expect(page.locator("#live")).to_have_text("connecting")
    expect(page.locator("#empty")).to_contain_text("Reading the numbers")
    page.wait_for_timeout(3000)  # longer than the page waits from one answer to the next question
    assert len(asked) == 1
    asked[0].continue_()
    expect(page.locator("#live")).to_have_text("live")


def test_the_latest_choice_wins_over_a_slower_earlier_one(page: Page, serve: Serve, shop: Still) -> None:
    page.goto(serve(shop))
    expect(page.locator("#live")).to_have_text("live")
    held: list[Route] = []
    page.route(re.compile(r"range=7d"), lambda route: held.append(route))  # noqa: PLW0108 - the same
    page.locator("body").press("5")
    page.locator("body").press("4")
    expect(page.locator("#footer")).to_contain_text("The last day")
    assert held


@pytest.fixture
def holdings(purge_client: PurgeClient) -> Holdings:
    return Holdings(lambda: Opened(purge_client), SystemClock(), may_purge=True)


def test_a_url_is_looked_up_and_purged_after_its_blast_radius(
    page: Page, serve: Serve, shop: Still, holdings: Holdings, fake_kv: FakeKV
) -> None:
    store(fake_kv, URL, groups=("product-17",))
    page.goto(serve(shop, holdings))
    expect(page.locator("#live")).to_have_text("live")
    page.locator("body").press("/")
    page.locator("#url").fill(URL)
    page.locator("#url").press("Enter")
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("The next request: hit: fresh.")
    expect(sheet).to_contain_text("product-17")
    expect(sheet).to_contain_text("r1/https/api.shop.example/products/17")
    sheet.get_by_role("button", name="Purge softly").click()
    expect(sheet).to_contain_text("A soft purge would hit 1 stored response of 4 B")
    expect(sheet.get_by_role("button", name="Leave it")).to_be_focused()
    assert fake_kv.stored_keys("m2/") == []
    sheet.get_by_role("button", name="Purge 1 stored response").click()
    expect(sheet).to_contain_text("Purged.")
    assert fake_kv.stored_keys("m2/") != []
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()


def test_a_dashboard_that_only_looks_has_no_purge_button(
    page: Page, serve: Serve, shop: Still, holdings: Holdings
) -> None:
    holdings.may_purge = False
    page.goto(serve(shop, holdings))
    page.locator("#urls button").first.click()
    sheet = page.get_by_role("dialog")
    expect(sheet).to_contain_text("Nothing is stored: the next request asks the origin.")
    expect(sheet).to_contain_text("Started with --allow-purge")
    expect(sheet.get_by_role("button", name="Purge")).to_have_count(0)


def test_what_is_no_url_is_told(page: Page, serve: Serve, shop: Still, holdings: Holdings) -> None:
    page.goto(serve(shop, holdings))
    page.locator("#url").fill("products/17")
    page.locator("#url").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("products/17")
    expect(page.locator(".verdict.bad")).to_be_visible()


def test_every_range_is_drawn(page: Page, serve: Serve, shop: Still) -> None:
    page.goto(serve(shop))
    for number, span in enumerate(RANGES.values(), 1):
        expect(page.locator("#live")).to_have_text("live")
        page.locator("body").press(str(number))
        expect(page.locator("#footer")).to_contain_text(f"The last {span.title}")
        expect(page.locator("#ratio-chart canvas")).to_be_visible()
