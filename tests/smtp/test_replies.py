"""Replies, written and read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.smtp.replies import MAX_LINE, MAX_LINES, Reply, ReplyError, ReplyReader


def test_written() -> None:
    assert Reply.of(250, "2.0.0", "ok").octets() == b"250 2.0.0 ok\r\n"
    assert Reply(250, None, ("a", "b")).octets() == b"250-a\r\n250 b\r\n"
    assert str(Reply(550, "5.1.1", ("no", "such user"))) == "550 5.1.1 no such user"
    assert Reply.of(354, None, "go").kind == "intermediate"


@given(st.text(), st.sampled_from([None, "5.7.1"]))
def test_a_reply_is_one_reply_whatever_its_text(text: str, enhanced: str | None) -> None:
    octets = Reply(550, enhanced, (text, text)).octets()
    assert octets.count(b"\r\n") == 2
    assert octets.count(b"\n") == octets.count(b"\r") == 2
    assert all(len(line) <= 510 for line in octets.split(b"\r\n"))
    assert len(ReplyReader().feed(octets)) == 1


@given(st.data())
def test_read(data: st.DataObject) -> None:
    whole = (
        b"220 a ready\r\n250-one\r\n250-\r\n250 SIZE 5\r\n550-5.1.1 no\r\n550 5.1.1 such user\r\n451\r\n250 5.1.1 x\n"
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1))))
    reader = ReplyReader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += reader.feed(whole[start:end])
    assert found == [
        Reply(220, None, ("a ready",)),
        Reply(250, None, ("one", "", "SIZE 5")),
        Reply(550, "5.1.1", ("no", "such user")),
        Reply(451, None, ("",)),
        # A code of another class is text.
        Reply(250, None, ("5.1.1 x",)),
    ]
    assert reader.is_empty


@pytest.mark.parametrize(
    "octets",
    [
        b"hello\r\n",
        b"99 x\r\n",
        b"650 x\r\n",
        b"250x\r\n",
        b"\r\n",
        b"250-a\r\n251 b\r\n",
        b"x" * (MAX_LINE + 1),
        b"250-x\r\n" * (MAX_LINES + 1),
        b"250 " + b"x" * MAX_LINE + b"\r\n",
    ],
)
def test_what_is_no_reply(octets: bytes) -> None:
    with pytest.raises(ReplyError):
        ReplyReader().feed(octets)


@given(st.binary())
def test_garbage(octets: bytes) -> None:
    try:
        ReplyReader().feed(octets)
    except ReplyError as error:
        assert str(error)
