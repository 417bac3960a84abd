"""Every curl line of the README does what its comment says, in the order in which a reader tries them."""

import shlex
from pathlib import Path

import httpx

import examples.catalogue

_README = Path(examples.catalogue.__file__).with_name("README.md")
_ORIGIN = "http://127.0.0.1:8000"


def _request(line: str) -> tuple[str, str, dict[str, str], str | None]:
    method, url, fields, content = "GET", "", {}, None
    words = iter(shlex.split(line, comments=True)[1:])
    for word in words:
        match word:
            case "-X":
                method = next(words)
            case "-I":
                method = "HEAD"
            case "-H":
                name, _, value = next(words).partition(": ")
                fields[name] = value
            case "-d" | "--json":
                method, content = "POST" if method == "GET" else method, next(words)
                fields |= {"Content-Type": "application/json"}
            case _ if word.startswith("http"):
                url = word.removeprefix(_ORIGIN)
            case _:
                assert word in {"-i", "-s", "-O"}, f"the test doesn't know curl's option {word}"
    return method, url, fields, content


async def test_the_lines_answer_with_the_status_that_they_promise(client: httpx.AsyncClient) -> None:
    lines = [line for line in _README.read_text("utf-8").splitlines() if line.startswith("curl ")]
    assert len(lines) >= 10
    for line in lines:
        method, url, fields, content = _request(line)
        response = await client.request(method, url, headers=fields, content=content)
        assert line.rpartition("# ")[2].startswith(str(response.status_code)), line
