"""Django's own types, as its backend stores them."""

from http.cookies import Morsel
from typing import Any

from django.http import HttpResponse
from django.utils.safestring import SafeString

from origin_sdk.layers.values.messagepack import Tag

__all__ = ["PLAINER", "TAGS"]


def _from_response(response: Any) -> dict[str, object]:
    """Return what Django's cache middleware needs again. A response has to be rendered."""
    return {
        "status": response.status_code,
        "reason": response.reason_phrase,
        "headers": [list(pair) for pair in response.headers.items()],
        "cookies": [
            [name, morsel.value, morsel.coded_value, dict(morsel)]
            for name, morsel in response.cookies.items()
        ],
        "body": bytes(response.content),
    }


def _to_response(stored: dict[str, Any]) -> object:
    response = HttpResponse(
        stored["body"], status=stored["status"], reason=stored["reason"], headers=dict(stored["headers"])
    )
    for name, value, coded, attributes in stored["cookies"]:
        morsel: Morsel[str] = Morsel()
        morsel.set(name, value, coded)
        morsel.update(attributes)
        response.cookies[name] = morsel
    return response


TAGS = (
    Tag(32, SafeString, str.__str__, SafeString),
    Tag(33, HttpResponse, _from_response, _to_response, has_subclasses=True),
)
PLAINER = {
    "rest_framework.utils.serializer_helpers.ReturnDict": dict,
    "rest_framework.utils.serializer_helpers.ReturnList": list,
}
"""Types that pickle gives back as a plainer one, too."""
