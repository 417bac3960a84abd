"""A purge of a host covers its ports."""

from origin_sdk_wire.key import parse_target
from origin_sdk_wire.marks import host_mark, marked_as, prefix_marks, url_mark


def test_what_is_on_another_port_is_covered_by_marks_of_the_host_and_of_the_port() -> None:
    for written in ("https://a.test:8443/x?y=1", "https://a.test.:8443/x?y=1"):
        marks = {
            mark
            for target in marked_as(parse_target(written))
            for mark in (host_mark(target.host), url_mark(target), *prefix_marks(target))
        }
        assert {"host/a.test", "url/a.test/x?y=1", "prefix/a.test", "prefix/a.test/x"} <= marks
        assert host_mark(parse_target(written).host) in marks


def test_a_host_without_a_port_has_its_own_marks_alone() -> None:
    target = parse_target("https://a.test/x")
    assert marked_as(target) == (target,)
