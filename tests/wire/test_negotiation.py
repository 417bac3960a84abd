"""Which of the few values that a rule knows a client gets."""

import pytest

from origin_sdk_wire.negotiation import DEVICES, device_class, negotiated, offered_language, offered_type
from origin_sdk_wire.rules import KeyRule

LANGUAGES = ("en", "de", "fr-CA", "zh-Hant")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("*", "en"),
        ("de", "de"),
        ("DE-at", "de"),
        ("de-Latn-DE-1996", "de"),
        ("fr, de;q=0.5", "de"),
        ("fr-ca", "fr-CA"),
        ("fr-CA-x-mine, de;q=0.1", "fr-CA"),
        ("es, it", "en"),
        ("de;q=0.1, en;q=0.9", "en"),
        ("en;q=0.1, de", "de"),
        ("de;q=0", "en"),
        ("en;q=0", "de"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh", "en"),
        ("de;q=x", "de"),
        ("\x00, ;;, de", "de"),
        ("en;q=0.1;x=1, de;q=0.5", "de"),
        ("de-*, en;q=0.5", "de"),
        ("fr;q=0, en;q=0, de;q=0", "zh-Hant"),
        ("*;q=0", "en"),
    ],
)
def test_languages_are_looked_up_as_rfc_4647_has_it(accepted: str, language: str) -> None:
    assert offered_language(accepted, LANGUAGES) == language


@pytest.mark.parametrize(
    ("accepted", "media_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("text/*", "text/html"),
        ("application/json;q=0.1, text/csv", "text/csv"),
        ("application/*;q=0.2, */*;q=0.1", "application/json"),
        ("application/json;q=0, */*", "text/html"),
        ("TEXT/CSV", "text/csv"),
        ("text/html;level=1", "text/html"),
        ("image/png", "application/json"),
        ("application/json;q=0.1;v=1, text/csv;q=0.5", "text/csv"),
        ("text/html;level=1;q=0.1, text/html;q=0.9, text/csv;q=0.5", "text/html"),
        ("application/json;charset=utf-8;q=0.9, text/csv;q=0.5", "application/json"),
        ("text/csv;q=1.5, text/html;q=0.5", "text/csv"),
    ],
)
def test_media_types_are_chosen_by_weight(accepted: str, media_type: str) -> None:
    assert offered_type(accepted, ("application/json", "text/html", "text/csv")) == media_type


IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"
PIXEL = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/140.0.0.0 Mobile Safari/537.36"
GALAXY_TAB = "Mozilla/5.0 (Linux; Android 14; SM-X810) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "hint", "device"),
    [
        ("", "", "desktop"),
        ("curl/8.5.0", "", "desktop"),
        (IPHONE, "", "mobile"),
        (PIXEL, "", "mobile"),
        (GALAXY_TAB, "", "tablet"),
        (GALAXY_TAB, "?0", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) Mobile/15E148", "", "tablet"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "?1", "mobile"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "?0", "desktop"),
    ],
)
def test_devices(agent: str, hint: str, device: str) -> None:
    assert device_class(agent, hint) == device
    assert device in DEVICES


def test_only_what_a_rule_names_is_set() -> None:
    given = {"accept-language": "de-AT", "accept": "text/csv", "user-agent": PIXEL, "x-device": "forged"}

    assert negotiated(KeyRule(), given) == {}
    rule = KeyRule(languages=("en", "de"), media_types=("text/html",), device_field="x-device")
    assert negotiated(rule, given) == {"accept-language": "de", "accept": "text/html", "x-device": "mobile"}
