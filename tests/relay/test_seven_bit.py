"""8 bits made 7, by the standard library's word for what the result means."""

import email
import email.policy
import quopri
import re
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mx10.relay.courier import seven_bit
from mx10.relay.courier.seven_bit import Converter, Survey, UnconvertibleError, convert
from mx10.relay.courier.values import Stage, Trouble
from tests.relay.talker import Talker
from tests.relay.test_connection import BOB, CAT, letter, opened


def leaves(content: bytes) -> list[tuple[str, bytes]]:
    """Types and decoded bodies of all parts that have no parts."""
    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    found = []
    for part in message.walk():
        body = part.get_payload(decode=True)
        if not part.is_multipart() and isinstance(body, bytes):
            found.append((part.get_content_type(), body))
    return found


def in_pieces(content: bytes, step: int) -> bytes:
    survey = Survey()
    for at in range(0, len(content), step):
        survey.feed(content[at : at + step])
    converter = Converter(survey.end())
    return b"".join(converter.feed(content[at : at + step]) for at in range(0, len(content), step)) + converter.end()


def test_a_plain_text() -> None:
    content = (
        "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\n"
        "Content-Transfer-Encoding: 8bit\r\nX-Last: 1\r\n\r\ngrüße \r\n.\r\nFrom me = you\r\n"
    ).encode()
    assert convert(content) == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain;\r\n charset=utf-8\r\nX-Last: 1\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BC=C3=9Fe=20\r\n=2E\r\nFrom me =3D you\r\n"
    )


def test_a_text_that_says_nothing_of_itself() -> None:
    """RFC 1428: nobody knows its character set, and that is said."""
    assert convert(b"Subject: x\r\n\r\n\xe4") == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=E4\r\n"
    )


def message() -> bytes:
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("früh\n" * 3, cte="8bit")
    made = EmailMessage()
    made["Subject"] = "outer"
    made.set_content("grüße und\n.\n" + "ä" * 400 + "\n", cte="8bit")
    made.add_alternative("<p>grüße</p>\n", subtype="html", cte="8bit")
    made.add_attachment(bytes(range(256)) * 10, "image", "png")
    made.add_attachment(inner)
    made.add_attachment("ascii alone\n", cte="8bit")
    return made.as_bytes(policy=email.policy.SMTP.clone(cte_type="8bit"))


@pytest.mark.parametrize("step", [1, 7, 64, 1 << 20])
def test_parts(step: int) -> None:
    content = message()
    converted = in_pieces(content, step)
    assert converted == convert(content)
    assert converted.isascii()
    assert leaves(converted) == leaves(content)
    assert max(map(len, converted.split(b"\r\n"))) <= 78
    # What was ASCII before, or encoded, is as it was; what has parts is not encoded itself.
    encodings = [line for line in converted.split(b"\r\n") if line.lower().startswith(b"content-transfer-encoding")]
    assert [line.partition(b": ")[2] for line in encodings].count(b"quoted-printable") == 3
    assert not any(line.endswith(b"8bit") for line in encodings)
    assert b"ascii alone\r\n" in converted
    # And it stays as it is when it is converted again.
    assert convert(converted) == converted


LINES = st.lists(st.binary(max_size=200).map(lambda each: re.sub(rb"[\r\n]", b"", each)), max_size=8)


@given(LINES, st.integers(1, 300))
def test_any_text_means_the_same(lines: list[bytes], step: int) -> None:
    body = b"".join(line + b"\r\n" for line in lines)
    content = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + body
    converted = in_pieces(content, step)
    assert converted.isascii()
    head, _, encoded = converted.partition(b"\r\n\r\n")
    if body.isascii():
        assert converted == content
    else:
        assert b"quoted-printable" in head
        assert all(len(line) <= 76 for line in encoded.split(b"\r\n"))
        assert quopri.decodestring(encoded.replace(b"\r\n", b"\n")) == body.replace(b"\r\n", b"\n")


PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=a\r\n",
        b'Content-Type: multipart/signed; boundary="b c"\r\n',
        b"Content-Type: multipart/digest;\r\n boundary=d\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: multipart/mixed\r\n",
        b"Content-Transfer-Encoding: 8bit\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"--a\r\n",
        b"--a--\r\n",
        b"--b c \r\n",
        b"--d\r\n",
        b"--d--\r\n",
        b"\r\n",
        b"\xe4\r\n",
        b"text\r\n",
        b" more\r\n",
        b": x\r\n",
        b"\xe4" * 100,
    ]
)


@given(st.lists(PIECES, max_size=30).map(b"".join), st.integers(1, 50))
def test_whatever_comes_is_ascii_or_refused(content: bytes, step: int) -> None:
    try:
        converted = convert(content)
    except UnconvertibleError as error:
        with pytest.raises(UnconvertibleError, match=re.escape(str(error))):
            in_pieces(content, step)
        return
    assert converted.isascii()
    assert in_pieces(content, step) == converted
    assert converted.count(b"--a") == content.count(b"--a")


def test_long_lines() -> None:
    line = bytes(range(128, 256)) * 2000
    content = b"Subject: x\r\n\r\n--" + line + b"\r\n" + line + b"\r"
    content += b"\n"
    for step in (1000, 65536, 1 << 20):
        converted = in_pieces(content, step)
        encoded = converted.partition(b"\r\n\r\n")[2]
        assert all(len(each) <= 76 for each in encoded.split(b"\r\n"))
        assert quopri.decodestring(encoded.replace(b"\r\n", b"\n")) == b"--" + line + b"\n" + line + b"\n"


MULTIPART = b"Content-Type: multipart/%b; boundary=a\r\n\r\n--a\r\n"


@pytest.mark.parametrize(
    ("content", "enhanced", "words"),
    [
        ("Subject: grüße\r\n\r\nx\r\n".encode(), "5.6.7", "SMTPUTF8"),
        (MULTIPART % b"mixed" + b"Subject: \xe4\r\n\r\nx\r\n", "5.6.7", "SMTPUTF8"),
        (MULTIPART % b"signed" + b"\r\n\xe4\r\n--a--\r\n", "5.6.3", "signed"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n\xe4\r\n", "5.6.3", "base64"),
        (b"Content-Transfer-Encoding: x-mine\r\n\r\n\xe4\r\n", "5.6.3", "x-mine"),
        (b"Content-Type: multipart/mixed\r\n\r\n\xe4\r\n", "5.6.3", "cannot be read"),
        (b"Content-Type: message/partial\r\n\r\n\xe4\r\n", "5.6.3", "cannot be read"),
        (b"Content-Type: message/rfc822\r\n\r\n" * 51, "5.6.3", "deep"),
        (b"Subject: " + b"x" * 70_000, "5.6.3", "longer"),
        (b"X: y\r\n" * 200_000, "5.6.3", "larger"),
    ],
)
def test_what_is_refused(content: bytes, enhanced: str, words: str) -> None:
    with pytest.raises(UnconvertibleError, match=words) as raised:
        convert(content)
    assert raised.value.enhanced == enhanced


def test_too_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seven_bit, "MAX_PARTS", 3)
    content = MULTIPART % b"mixed" + b"\r\n\xe4\r\n--a\r\n" * 4
    with pytest.raises(UnconvertibleError, match="more than 3"):
        convert(content)


# ---------------------------------------------------------------- over a connection


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("lines", [1, 40_000])
async def test_a_host_without_8bitmime(lines: int, chunking: bool) -> None:
    head = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    body = ("." + "grüße\r\n" * lines).encode()
    offers = ("PIPELINING", "SIZE 1000000", *(("CHUNKING",) if chunking else ()))
    async with Talker(offers=offers).listening() as host, opened(host) as (link, steps):
        for part in (head, head + b"Content-Transfer-Encoding: 8bit\r\n"):
            answers = await link.send(letter(part + b"\r\n" + body), (BOB, CAT))
            assert [each.reply.code for each in answers if each.reply] == [250, 250]
            got = b"".join(host.messages)  # it keeps each chunk of BDAT for itself
            host.messages.clear()
            assert got.isascii()
            assert leaves(got)[0] == ("text/plain", body)
        assert any("quoted-printable" in step.text for step in steps)
        # And ASCII goes as it is, over the same connection.
        steps.clear()
        await link.send(letter(head + b"\r\nplain\r\n"), (BOB,))
        assert host.messages[-1] == head + b"\r\nplain\r\n"
        assert not any("quoted-printable" in step.text for step in steps)
    assert not any("8BITMIME" in line for line in host.heard)


@pytest.mark.parametrize("lines", [1, 40_000])
async def test_what_cannot_be_converted_is_refused_and_the_next_goes(lines: int) -> None:
    signed = MULTIPART % b"signed" + b"\r\n" + b"\xe4\r\n" * 80 * lines + b"--a--\r\n"
    async with Talker(offers=("PIPELINING",)).listening() as host, opened(host) as (link, _):
        (answer,) = await link.send(letter(signed), (BOB,))
        assert (answer.stage, answer.reply, answer.trouble, answer.enhanced) == (
            Stage.MAIL,
            None,
            Trouble.UNABLE,
            "5.6.3",
        )
        assert "the signature is over them" in answer.detail
        (answer,) = await link.send(letter("Subject: grüße\r\n\r\nx\r\n".encode()), (BOB,))
        assert (answer.trouble, answer.enhanced) == (Trouble.UNABLE, "5.6.7")
        (answer,) = await link.send(letter(), (BOB,))
        assert answer.reply is not None
        assert answer.reply.code == 250


async def test_a_host_with_8bitmime_gets_it_as_it_is() -> None:
    content = "Subject: x\r\n\r\ngrüße\r\n".encode()
    async with Talker().listening() as host, opened(host) as (link, _):
        await link.send(letter(content), (BOB,))
        assert host.messages == [content]
