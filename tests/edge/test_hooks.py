import asyncio
import re
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any, cast

import pytest

import hooks as default_hooks
import origin_sdk_edge.hooks
from origin_sdk_edge.hooks import (
    HookAnswer,
    HookRequest,
    HookResponse,
    Hooks,
    changed_fields,
    hook_warnings,
    load_hooks,
)
from origin_sdk_edge.policy.facts import RequestFacts
from origin_sdk_edge.ports import LateError, Report
from origin_sdk_wire.config import ConfigError
from origin_sdk_wire.facts import Reason
from origin_sdk_wire.settings import Rule, Settings
from tests.docs.snippets import blocks
from tests.edge.fakes import FakeEdge, FakeOrigin, FakeResponse, Sent

_PAGE = "docs/configuration.md"
_REQUEST = HookRequest(
    "GET", "https://api.example.com/v1/items/products/7", {"Accept": "text/html", "X-Shop": "berlin"}
)
_RESPONSE = HookResponse(200, {"Content-Type": "text/html", "Set-Cookie": "a=1, b=2"})


class _Reports(list[str]):
    def __call__(self, hook: str, error: Exception) -> None:
        self.append(f"{hook}: {error}")


def _module(**functions: object) -> ModuleType:
    module = ModuleType("hooks")
    vars(module).update(functions)
    return module


async def _run(work: Coroutine[Any, Any, Any]) -> Any:
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait([task], timeout=0.05)
    if not done:
        task.cancel()
        raise LateError("late")
    return task.result()


def _load(reports: Report | None = None, /, **functions: object) -> Hooks:
    return load_hooks(_module(**functions), _Reports() if reports is None else reports, _run)


def test_the_file_as_it_comes_has_no_hooks() -> None:
    assert load_hooks(default_hooks, _Reports(), _run) == Hooks()


def test_a_module_without_hooks_has_none() -> None:
    assert _load() == Hooks()


async def test_a_hook_with_a_body_is_taken_and_the_others_stay_absent() -> None:
    def before_send(request: HookRequest, response: HookResponse) -> HookResponse:
        return response.with_field("X-Served", request.method)

    hooks = _load(before_send=before_send)
    assert hooks.before_lookup is None
    assert hooks.after_origin is None
    assert hooks.before_send is not None
    told = await hooks.before_send(_REQUEST, _RESPONSE)
    assert isinstance(told, HookResponse)
    assert told.fields["x-served"] == "GET"


async def _lookup(
    hook: Callable[..., object], reports: _Reports, given: HookRequest = _REQUEST
) -> HookRequest | HookAnswer | Reason:
    # Hooks take their arguments by position: the parameters may have any name.
    hooks = _load(reports, before_lookup=hook)
    assert hooks.before_lookup is not None
    return await hooks.before_lookup(given)


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        pytest.param(lambda request: request and None, _REQUEST, id="None is no change"),
        pytest.param(lambda request: request, _REQUEST, id="the same object is no change"),
        pytest.param(
            lambda request: request.with_url("https://other.example/"),
            HookRequest("GET", "https://other.example/", _REQUEST.fields),
            id="a URL can be rewritten",
        ),
        pytest.param(
            lambda request: request.without_field("ACCEPT").with_field("X-Device", "phone"),
            HookRequest("GET", _REQUEST.url, {"x-shop": "berlin", "x-device": "phone"}),
            id="fields can be set and removed",
        ),
        pytest.param(
            lambda request: HookAnswer(403, "no", {"Content-Type": "text/plain"}) if request else None,
            HookAnswer(403, "no", {"content-type": "text/plain"}),
            id="a request can be answered at once",
        ),
    ],
)
async def test_before_lookup(hook: Callable[..., object], expected: object) -> None:
    reports = _Reports()
    assert await _lookup(hook, reports) == expected
    assert reports == []


def _waiting(_: object) -> Any:
    work = _never(None)
    work.close()
    return work


async def _cancelled(_: object) -> None:
    raise asyncio.CancelledError


async def _late(_: object) -> None:
    raise TimeoutError


def _raise_one(_: object) -> None:
    raise NotImplementedError


def _raise_two(_: object, __: object) -> None:
    raise NotImplementedError


async def _never(_: object) -> None:
    await asyncio.Event().wait()


def _raise(*_: object) -> None:
    raise RuntimeError("a bug of the user's")


@pytest.mark.parametrize(
    ("hook", "report"),
    [
        pytest.param(_raise, "a bug of the user's", id="a hook that raises"),
        pytest.param(
            lambda request: [request], "return a HookRequest, a HookAnswer, or None", id="another type"
        ),
        pytest.param(
            lambda request: HookRequest("PUT", request.url), "the method stays", id="another method"
        ),
        pytest.param(lambda request: request.with_url("/products"), "absolute", id="a relative URL"),
        pytest.param(
            lambda request: request.with_field("x y", ""), "isn't the name of a field", id="no field's name"
        ),
        pytest.param(
            lambda request: request.with_field("x", "a\r\nb"), "one line", id="a line break in a value"
        ),
        pytest.param(
            lambda request: request.with_field("x", "€"), "Latin-1", id="what JavaScript can't send"
        ),
        pytest.param(
            lambda request: HookAnswer(len(request.method)), "from 200 to 599", id="no final status"
        ),
        pytest.param(lambda request: request.fields.update(a="b"), "update", id="fields changed in place"),
        pytest.param(lambda request: replace(request, body=b"other"), "the body stays", id="another body"),
        pytest.param(lambda request: request.with_field("x", 5), "expected string", id="no text in a field"),
        pytest.param(
            lambda _: HookAnswer(200, cast("str", {"a": 1})), "give a str", id="an answer of no text"
        ),
        pytest.param(lambda _: HookAnswer(204, "x"), "none for 204", id="content where none may be"),
        pytest.param(lambda request: sys.exit(request.method), "SystemExit: GET", id="a hook that exits"),
        pytest.param(_waiting, "coroutine", id="a hook that returns a coroutine"),
    ],
)
async def test_a_failed_before_lookup_is_reported_and_says_so(
    hook: Callable[..., object], report: str
) -> None:
    reports = _Reports()
    assert await _lookup(hook, reports) is Reason.HOOK_FAILED
    assert len(reports) == 1
    assert reports[0].startswith("before_lookup: ")
    assert report in reports[0]


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        pytest.param(
            lambda request, response: request and response and None, _RESPONSE, id="None is no change"
        ),
        pytest.param(
            lambda request, response: response.with_field("Cache-Groups", request.fields["x-shop"]),
            HookResponse(200, {**_RESPONSE.fields, "cache-groups": "berlin"}),
            id="fields can be set",
        ),
        pytest.param(
            lambda _, response: response.without_field("Set-Cookie"),
            HookResponse(200, {"content-type": "text/html"}),
            id="fields can be removed",
        ),
    ],
)
async def test_hooks_on_responses(hook: Callable[..., object], expected: HookResponse) -> None:
    reports = _Reports()
    hooks = _load(reports, after_origin=hook, before_send=hook)
    assert hooks.after_origin is not None
    assert hooks.before_send is not None
    assert await hooks.after_origin(_REQUEST, _RESPONSE) == expected
    assert await hooks.before_send(_REQUEST, _RESPONSE) == expected
    assert reports == []


@pytest.mark.parametrize(
    ("hook", "report"),
    [
        pytest.param(
            _raise,
            "a bug of the user's",
            id="a hook that raises",
        ),
        pytest.param(lambda request, _: request, "return a HookResponse, or None", id="another type"),
        pytest.param(
            lambda _, response: HookResponse(204, response.fields), "the status stays", id="another status"
        ),
    ],
)
async def test_a_failed_hook_on_a_response_is_reported(hook: Callable[..., object], report: str) -> None:
    reports = _Reports()
    hooks = _load(reports, after_origin=hook, before_send=hook)
    assert hooks.after_origin is not None
    assert hooks.before_send is not None
    assert await hooks.after_origin(_REQUEST, _RESPONSE) is Reason.HOOK_FAILED
    assert await hooks.before_send(_REQUEST, _RESPONSE) is Reason.HOOK_FAILED
    assert [line.partition(":")[0] for line in reports] == ["after_origin", "before_send"]
    assert all(report in line for line in reports)


def _generator(_: object) -> Iterator[None]:
    yield


async def _asynchronous_generator(_: object) -> AsyncIterator[None]:
    yield


def _misspelt(_: object) -> None:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("functions", "problem"),
    [
        pytest.param({"before_lookup": _generator}, "before_lookup: is a generator", id="a generator"),
        pytest.param(
            {"before_lookup": _asynchronous_generator}, "before_lookup: is a generator", id="an async one"
        ),
        pytest.param(
            {"after_origin": _misspelt}, "after_origin: doesn't take (request, response)", id="parameters"
        ),
        pytest.param(
            {"before_send": "x"}, "before_send: is 'x'; write a function", id="a hook is a function"
        ),
        pytest.param(
            {"before_lookups": _misspelt}, "before_lookups: isn't a hook; did you mean", id="a slip is seen"
        ),
    ],
)
def test_refuses(functions: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        _load(_Reports(), **functions)
    assert len(raised.value.problems) == 1
    assert problem in raised.value.problems[0]


def test_a_changed_value_can_be_told_from_lines_that_stayed() -> None:
    after = _RESPONSE.without_field("content-type").with_field("x-new", "1")
    assert changed_fields(_RESPONSE.fields, after.fields) == {"x-new": "1", "content-type": None}


async def test_what_a_client_sent_is_not_the_hooks_fault() -> None:
    odd = HookRequest("GET", _REQUEST.url, {"x-odd": "€", "x-shop": "berlin"})
    hooks = _load(before_lookup=lambda request: request.with_field("x-new", "1"))
    assert hooks.before_lookup is not None
    assert await hooks.before_lookup(odd) == odd.with_field("x-new", "1")


_EXAMPLES = [
    pytest.param(name, example, id=f"{name} {number}")
    for name in default_hooks.__all__
    for number, example in enumerate(
        re.findall(
            r"^ {8}def .*?(?=\n\n {0,4}\S|\n {4}$|\Z)",
            getattr(default_hooks, name).__doc__ or "",
            re.DOTALL | re.MULTILINE,
        )
    )
]


def test_each_hook_has_examples() -> None:
    assert {example.values[0] for example in _EXAMPLES} == set(default_hooks.__all__)


@pytest.mark.parametrize(("name", "example"), _EXAMPLES)
async def test_the_examples_run(name: str, example: str) -> None:
    names = dict(vars(origin_sdk_edge.hooks))
    exec(textwrap.dedent(example), names)  # noqa: S102 - our own examples
    reports = _Reports()
    hooks = _load(reports, **{name: names[name]})
    if hooks.before_lookup is not None:
        assert await hooks.before_lookup(_REQUEST) not in (*Reason, _REQUEST)
        return
    hook = hooks.after_origin or hooks.before_send
    assert hook is not None
    assert await hook(_REQUEST, _RESPONSE) not in (*Reason, _RESPONSE)
    assert reports == []


async def test_an_async_hook_is_waited_for() -> None:
    async def hook(request: HookRequest) -> HookRequest:
        await asyncio.sleep(0)
        return request.with_field("x-new", str(len(request.body or b"")))

    reports = _Reports()
    told = await _lookup(hook, reports, replace(_REQUEST, body=b"1234"))
    assert isinstance(told, HookRequest)
    assert (told.fields["x-new"], told.body, reports) == ("4", b"1234", [])


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        pytest.param(_never, Reason.HOOK_TIMEOUT, id="that never ends"),
        pytest.param(_cancelled, Reason.HOOK_FAILED, id="that is cancelled"),
        pytest.param(_late, Reason.HOOK_FAILED, id="whose own time was up"),
    ],
)
async def test_an_async_hook_that_fails_says_how(hook: Callable[..., object], reason: Reason) -> None:
    reports = _Reports()
    assert await _lookup(hook, reports) is reason
    assert len(reports) == 1


def test_a_declaration_that_no_hook_sees_is_told() -> None:
    settings = Settings(rules=(Rule("a", hook_request_bytes=1, hook_response_bytes=1), Rule("b")))
    assert len([*hook_warnings(Hooks(), settings)]) == 2
    hooks = _load(before_lookup=_raise_one, after_origin=_raise_two)
    assert [*hook_warnings(hooks, settings)] == []


async def test_the_hooks_of_the_docs_run() -> None:
    [code] = [each.text for each in blocks() if (each.page, each.language) == (_PAGE, "python")]
    module = ModuleType("hooks")
    exec(compile(code, _PAGE, "exec"), vars(module))  # noqa: S102 - the page's own
    hooks = load_hooks(module, _Reports(), _run)
    assert hooks.before_lookup
    assert hooks.after_origin
    refused = await hooks.before_lookup(HookRequest("POST", _REQUEST.url))
    assert isinstance(refused, HookAnswer)
    shown = replace(_RESPONSE, body=b'{"shop": "berlin"}')
    told = await hooks.after_origin(_REQUEST, shown)
    assert isinstance(told, HookResponse)
    assert told.fields["cache-groups"] == '"shop-berlin"'
    assert await hooks.after_origin(_REQUEST, _RESPONSE) is _RESPONSE


# What a failure makes of the request

FRESH = {"cache-control": "public, max-age=5", "etag": '"a"'}


def _validated(request: RequestFacts) -> FakeResponse:
    if request.fields.get("if-none-match") == '"a"':
        return FakeResponse(304, FRESH)
    return FakeResponse(200, FRESH, b"a")


@pytest.mark.parametrize("reason", [Reason.HOOK_FAILED, Reason.HOOK_TIMEOUT])
async def test_a_hook_that_fails_on_a_304_leaves_its_client_a_whole_response(reason: Reason) -> None:
    async def hook(_: HookRequest, response: HookResponse) -> HookResponse | Reason:
        return reason if response.status == 304 else response

    edge = FakeEdge(
        Settings(origin="http://o", lifetime_jitter=0), _validated, hooks=Hooks(after_origin=hook)
    )
    for seconds in (0, 6):
        edge.timing.ms += seconds * 1000
        sent: Sent = (await edge.full("GET", _REQUEST.url, {})).response
        assert (sent.status, sent.body) == (200, b"a")


async def test_a_hook_that_fails_on_the_rest_of_a_part_leaves_its_client_a_whole_response() -> None:
    def answer(request: RequestFacts) -> FakeResponse:
        if part := request.fields.get("range"):
            start, end = (0, 2) if part == "bytes=0-1" else (2, 4)
            of = {"content-range": f"bytes {start}-{end - 1}/4", "content-length": "2"}
            return FakeResponse(206, {**FRESH, **of}, b"abcd"[start:end])
        return FakeResponse(200, {**FRESH, "content-length": "4"}, b"abcd")

    fails = False

    async def hook(_: HookRequest, response: HookResponse) -> HookResponse | Reason:
        return Reason.HOOK_FAILED if fails else response

    edge = FakeEdge(Settings(origin="http://o", lifetime_jitter=0), answer, hooks=Hooks(after_origin=hook))
    assert (await edge.full("GET", _REQUEST.url, {"range": "bytes=0-1"})).response.status == 206
    fails = True
    sent: Sent = (await edge.full("GET", _REQUEST.url, {})).response
    assert (sent.status, sent.body) == (200, b"abcd")
    assert len(edge.origin.requests) == 3, "the rest was asked for, and then the whole"


async def test_a_hook_that_fails_leaves_its_client_what_vary_nominates() -> None:
    def answer(request: RequestFacts) -> FakeResponse:
        agent = request.fields.get("user-agent", "nobody")
        return FakeResponse(200, {"vary": "User-Agent"}, agent.encode())

    async def hook(_: HookRequest, __: HookResponse) -> Reason:
        return Reason.HOOK_FAILED

    edge = FakeEdge(Settings(origin="http://o"), answer, hooks=Hooks(after_origin=hook))
    sent: Sent = (await edge.full("GET", _REQUEST.url, {"user-agent": "phone"})).response
    assert sent.body == b"phone"


async def test_before_send_sees_also_what_answers_a_precondition_of_an_unstored_response() -> None:
    async def hook(_: HookRequest, response: HookResponse) -> HookResponse:
        return response.without_field("x-backend").with_field("x-status", str(response.status))

    fields = {"cache-control": "no-store", "etag": '"a"', "x-backend": "a7"}
    edge = FakeEdge(
        Settings(origin="http://o"), lambda _: FakeResponse(200, fields, b"a"), hooks=Hooks(before_send=hook)
    )
    sent: Sent = (await edge.full("GET", _REQUEST.url, {"if-none-match": '"a"'})).response
    assert (sent.status, sent.fields["x-status"], "x-backend" in sent.fields) == (304, "304", False)


@pytest.mark.parametrize("reason", [Reason.HOOK_FAILED, Reason.HOOK_TIMEOUT])
async def test_a_request_whose_hook_failed_goes_to_its_own_origin(reason: Reason) -> None:
    async def hook(_: HookRequest) -> Reason:
        return reason

    asked: list[str] = []

    class Noting(FakeOrigin):
        async def fetch(self, request: RequestFacts, *others: Any) -> FakeResponse:
            asked.append(others[-1])
            return await super().fetch(request, *others)

    rules = (Rule("own", paths=("/v1/**",), origins=("http://tenant",)),)
    edge = FakeEdge(
        Settings(origin="http://o", rules=rules),
        _validated,
        origin=Noting(_validated),
        hooks=Hooks(before_lookup=hook),
    )
    await edge.full("GET", _REQUEST.url, {})
    assert asked == ["http://tenant"]


@pytest.mark.parametrize(
    ("media_type", "shown"),
    [pytest.param("text/plain", b"a", id="an end"), pytest.param("text/event-stream", None, id="no end")],
)
async def test_nobody_waits_for_the_end_of_what_has_none(media_type: str, shown: bytes | None) -> None:
    seen: list[bytes | None] = []

    async def hook(_: HookRequest, response: HookResponse) -> HookResponse:
        seen.append(response.body)
        return response

    edge = FakeEdge(
        Settings(origin="http://o", rules=(Rule(hook_response_bytes=100),)),
        lambda _: FakeResponse(200, {"content-type": media_type}, b"a"),
        hooks=Hooks(after_origin=hook),
    )
    await edge.full("GET", _REQUEST.url, {})
    assert seen == [shown]
