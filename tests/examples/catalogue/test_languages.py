import pytest

from examples.catalogue.languages import preferred_language


@pytest.mark.parametrize(
    ("accept_language", "expected"),
    [
        pytest.param(None, "en", id="no field means English"),
        pytest.param("", "en", id="an empty field means English"),
        pytest.param("de", "de", id="a language that is offered is used"),
        pytest.param("de-AT, en;q=0.5", "de", id="a region counts as its language"),
        pytest.param("en;q=0.3, fr;q=0.9", "fr", id="the highest weight wins"),
        pytest.param("fr, de", "fr", id="of equal weights the first wins"),
        pytest.param("ja, fr;q=0.1", "fr", id="a language that is not offered is passed over"),
        pytest.param("ja", "en", id="only languages that are not offered mean English"),
        pytest.param("de;q=0, fr;q=0.1", "fr", id="weight 0 means not acceptable"),
        pytest.param("*, de;q=0.5", "en", id="a wildcard means English"),
        pytest.param("de;q=high", "en", id="a weight that is no number counts as 0"),
    ],
)
def test_the_language_that_the_client_prefers(accept_language: str | None, expected: str) -> None:
    assert preferred_language(accept_language) == expected
