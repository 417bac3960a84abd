import pytest

from origin_sdk._values.settings import Settings
from origin_sdk.errors import InvalidSettings

LOCAL = "http://127.0.0.1:8787/cdn-cgi/local/explorer/api"
SECRET = "s3cr3t-t0k3n"  # noqa: S105 - of no account


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        pytest.param(
            Settings(token=SECRET, account_id="acc", namespace_id="ns"),
            "https://api.cloudflare.com/client/v4/accounts/acc/storage/kv/namespaces/ns",
            id="Cloudflare's own gets the account",
        ),
        pytest.param(
            Settings(
                token=SECRET,
                account_id="acc",
                namespace_id="ns",
                base_url="https://api.cloudflare.com/client/v4/",
            ),
            "https://api.cloudflare.com/client/v4/accounts/acc/storage/kv/namespaces/ns",
            id="written out, with a slash, it is still Cloudflare's own",
        ),
        pytest.param(
            Settings(namespace_id="ns", base_url=LOCAL),
            f"{LOCAL}/storage/kv/namespaces/ns",
            id="any other is the whole prefix",
        ),
        pytest.param(
            Settings(account_id="acc", namespace_id="ns", base_url="https://proxy.example/cf"),
            "https://proxy.example/cf/storage/kv/namespaces/ns",
            id="even where an account is known",
        ),
    ],
)
def test_the_url_of_the_namespace(settings: Settings, url: str) -> None:
    assert settings.namespace_url == url


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param({}, "EDGE_CACHE_NAMESPACE_ID", id="no namespace"),
        pytest.param(
            {"namespace_id": "ns"}, "CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN", id="no account"
        ),
        pytest.param({"namespace_id": "ns", "account_id": "a"}, "CLOUDFLARE_API_TOKEN", id="no token"),
        pytest.param(
            {"namespace_id": "ns", "base_url": "ftp://x"}, "CLOUDFLARE_API_BASE_URL", id="no web URL"
        ),
        pytest.param({"namespace_id": "ns", "base_url": "https://"}, "CLOUDFLARE_API_BASE_URL", id="no host"),
        pytest.param({"namespace_id": "ns", "base_url": "https://u:p@x"}, "user", id="a password in the URL"),
        pytest.param(
            {"namespace_id": "ns", "base_url": "https://:p@x"}, "user", id="a password without a user"
        ),
        pytest.param(
            {"namespace_id": "ns", "base_url": "http://api.example", "token": SECRET},
            "https",
            id="a token over plain http to another machine",
        ),
        pytest.param(
            {"namespace_id": "ns", "base_url": LOCAL, "token": "a b"}, "token", id="a token with a space"
        ),
        pytest.param(
            {"namespace_id": "ns", "base_url": LOCAL, "token": "a\n"}, "token", id="a token with its line"
        ),
        pytest.param(
            {"namespace_id": "ns", "base_url": LOCAL, "mark_seconds": 3600},
            "mark_seconds",
            id="marks that die before what they invalidate",
        ),
        pytest.param({"namespace_id": "ns", "tokn": SECRET}, "tokn", id="a misspelt argument"),
    ],
)
def test_what_cannot_work_is_refused_with_the_setting_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidSettings, match=named) as refused:
        Settings.from_environment({}, **arguments)  # type: ignore[arg-type]  # a table of arguments
    assert SECRET not in str(refused.value)


def test_arguments_come_before_the_environment_and_none_leaves_it_to_it() -> None:
    environment = {
        "CLOUDFLARE_API_TOKEN": SECRET,
        "CLOUDFLARE_ACCOUNT_ID": "from-environment",
        "EDGE_CACHE_NAMESPACE_ID": "from-environment",
        "EDGE_CACHE_ACTOR": "ci",
        "EDGE_CACHE_AUDIT_FILE": "audit.jsonl",
    }
    settings = Settings.from_environment(environment, namespace_id="given", account_id=None)
    assert (settings.namespace_id, settings.account_id) == ("given", "from-environment")
    assert (settings.token, settings.actor, settings.audit_file) == (SECRET, "ci", "audit.jsonl")


def test_a_default_namespace_gives_way_to_the_environment() -> None:
    environment = {"CLOUDFLARE_API_BASE_URL": LOCAL}
    assert Settings.from_environment(environment, default_namespace_id="toml").namespace_id == "toml"
    environment["EDGE_CACHE_NAMESPACE_ID"] = "env"
    assert Settings.from_environment(environment, default_namespace_id="toml").namespace_id == "env"


def test_the_token_is_in_no_representation() -> None:
    settings = Settings(token=SECRET, account_id="acc", namespace_id="ns")
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
