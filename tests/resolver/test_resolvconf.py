"""/etc/resolv.conf, as resolv.conf(5) has it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.resolver.resolvconf import ResolvConf, parse, read

NOBODY = ResolvConf(("127.0.0.1",))


def conf(text: str, **environ: str) -> ResolvConf:
    return parse(text, environ)


def test_a_usual_file() -> None:
    text = """\
# made by a program
; as this
nameserver 192.0.2.1
nameserver 2001:db8::1 trailing words
nameserver fe80::1%eth0
nameserver 192.0.2.4
search corp.example  lab.corp.example
options ndots:2 timeout:1 attempts:3 rotate trust-ad edns0 use-vc unknown no-thing:7
"""
    assert conf(text) == ResolvConf(
        ("192.0.2.1", "2001:db8::1", "fe80::1%eth0"),
        ("corp.example", "lab.corp.example"),
        ndots=2,
        timeout=1,
        attempts=3,
        rotate=True,
        trust_ad=True,
        edns0=True,
        use_vc=True,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", NOBODY),
        ("nameserver", NOBODY),
        ("nameserver example.com\nnameserver 300.1.1.1", NOBODY),
        (" nameserver 192.0.2.1", ResolvConf(("192.0.2.1",))),
        ("#nameserver 192.0.2.1", NOBODY),
        ("search", NOBODY),
        ("search a\ndomain b c", ResolvConf(NOBODY.servers, ("b",))),
        ("domain b\nsearch a c", ResolvConf(NOBODY.servers, ("a", "c"))),
        ("options ndots:99 timeout:99 attempts:99", ResolvConf(NOBODY.servers, ndots=15, timeout=30, attempts=5)),
        ("options ndots:0 timeout:0 attempts:0", ResolvConf(NOBODY.servers, ndots=0)),
        ("options ndots:-1 timeout:x attempts: ndots", NOBODY),
        ("options rotate\noptions trust-ad", ResolvConf(NOBODY.servers, rotate=True, trust_ad=True)),
        ("options tcp single-request", ResolvConf(NOBODY.servers, use_vc=True, single_request=True)),
        ("options single-request-reopen", NOBODY),
        ("sortlist 192.0.2.0\nnonsense\n\n\t\n", NOBODY),
    ],
)
def test_lines(text: str, expected: ResolvConf) -> None:
    assert conf(text) == expected


def test_the_environment_changes_it() -> None:
    found = conf("search a\noptions ndots:3", LOCALDOMAIN="b c", RES_OPTIONS="ndots:1 rotate")
    assert (found.search, found.ndots, found.rotate) == (("b", "c"), 1, True)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    assert read(tmp_path / "none", {}) == NOBODY
    assert read(tmp_path, {}) == NOBODY
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0nameserver\nnameserver 192.0.2.1\n" + b"x" * (2 << 20))
    assert read(tmp_path / "binary", {}).servers == ("192.0.2.1",)


@given(st.text(), st.text())
def test_any_text_means_something(text: str, options: str) -> None:
    assert conf(text, RES_OPTIONS=options).servers
