"""What a rule keeps out of the cache is kept out under every spelling, and nothing else is."""

from __future__ import annotations

import pytest

from cachewire.key import parse_target
from cachewire.settings import DataClass, Rule, Settings
from edgecache.policy.disguise import forbids_disguised

SETTINGS = Settings(
    rules=(
        Rule("open", paths=("/account/logo.png",)),
        Rule("account", paths=("/account", "/account/**"), data_class=DataClass.NEVER),
        Rule("raw", paths=("/raw/*",), bypass=True),
    )
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/account/x.css", "account"),
        ("/account;v=1", "account"),
        ("/account%2Fx.css", "account"),
        ("/x/..%2faccount", "account"),
        ("/x/..%5caccount", "account"),
        ("/x/..;/account", "account"),
        ("/x/%252e%252e%252faccount", "account"),
        ("/account%3Fx.css", "account"),
        ("/account%00.css", "account"),
        ("/ACCOUNT", "account"),
        ("//account", "account"),
        ("/account/", "account"),
        ("/raw/../RAW/x", "raw"),
        ("/accounts", None),
        ("/accounts.css", None),
        ("/a/account", None),
        ("/a/account.css", None),
        ("/Raw", None),
        ("/products%2F7.json", None),
    ],
)
def test_the_rule_that_a_disguised_path_falls_under(path: str, name: str | None) -> None:
    rule = forbids_disguised("GET", parse_target(f"https://a.test{path}"), SETTINGS)

    assert (rule and rule.name) == name


def test_nothing_is_looked_at_where_no_rule_forbids() -> None:
    assert forbids_disguised("GET", parse_target("https://a.test/ACCOUNT"), Settings()) is None
