"""Rspamd over HTTP: the message is sent to /checkv2 as it is, what is to be done comes back as JSON."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from mx10.relay.courier.values import Content
from mx10.relay.door.filters.edits import edit_of
from mx10.relay.door.filters.values import Edit, EditKind, FilterError, Verdict
from mx10.relay.door.values import Visitor
from mx10.relay.values import Envelope, NewRecipient
from mx10.smtp.replies import Reply

if TYPE_CHECKING:
    import httpx

MAX_ANSWER: Final = 1 << 20
"""Octets of an answer that are read."""
MAX_FIELDS: Final = 200
"""Header fields that one answer adds or removes."""
_MAX_TEXT: Final = 300
_REJECTED: Final = "the spam filter here does not want this message; ask the recipient another way"
_LATER: Final = "the spam filter here does not want this message now; send it again later"
_TAKEN: Final = frozenset({"no action", "greylist", "add header", "rewrite subject", "quarantine"})
"""What leaves a message to be taken. To greylist is Rspamd's own matter: where it wants a message to come again, it
says "soft reject"."""


class Rspamd:
    """A filter.

    Args:
        name: as it is configured.
        url: ``http://host:port``.
        hostname: ours.
        seconds: for one answer.
    """

    def __init__(self, name: str, url: str, hostname: str, seconds: float) -> None:
        self.name = name
        self._url = url.rstrip("/") + "/checkv2"
        self._hostname = hostname
        self._seconds = seconds
        self._client: httpx.AsyncClient | None = None

    async def judge(
        self, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient], content: Content
    ) -> Verdict:
        """What it says about a message.

        Raises:
            FilterError: nothing that can be followed.
            OSError: the content cannot be read.
        """
        # Imported here: it takes as long as the rest of a start, and most relays have no such filter.
        import httpx

        if self._client is None:
            # One for all messages: to make one takes longer than a question. The environment may name a proxy, for the
            # web; mail goes to the host that was named.
            self._client = httpx.AsyncClient(timeout=self._seconds, trust_env=False, follow_redirects=False)
        headers = _headers(self._hostname, visitor, envelope, recipients)
        headers.append((b"Content-Length", b"%d" % content.size))
        answer = b""
        try:
            async with self._client.stream("POST", self._url, headers=headers, content=_pieces(content)) as response:
                if response.status_code != 200:
                    raise FilterError(f"it answered {response.status_code} {response.reason_phrase}")
                async for piece in response.aiter_bytes():
                    answer += piece
                    if len(answer) > MAX_ANSWER:
                        raise FilterError(f"its answer is longer than {MAX_ANSWER >> 20} MiB")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FilterError(f"it cannot be asked: {error or type(error).__name__}") from None
        return verdict_of(answer)

    async def close(self) -> None:
        """Ask no more."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _headers(
    hostname: str, visitor: Visitor, envelope: Envelope, recipients: Sequence[NewRecipient]
) -> list[tuple[bytes, bytes]]:
    values = [("IP", visitor.text), ("Helo", visitor.helo), ("Hostname", visitor.name or "unknown")]
    values += [("From", envelope.reverse_path), ("User", visitor.user), ("MTA-Name", hostname)]
    values += [("Rcpt", each.address) for each in recipients]
    if visitor.tls:
        version, _, cipher = visitor.tls.partition(" ")
        values += [("TLS-Version", version), ("TLS-Cipher", cipher)]
    return [(name.encode(), _one_line(value)) for name, value in values if value]


def _one_line(value: str) -> bytes:
    return "".join(char if char.isprintable() else "?" for char in value).encode()


async def _pieces(content: Content) -> AsyncIterator[bytes]:
    async for chunk in content.chunks():
        yield chunk


def verdict_of(answer: bytes) -> Verdict:
    """What an answer means.

    Raises:
        FilterError: it is none.
    """
    try:
        said = json.loads(answer)
        action = said["action"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FilterError("its answer is no JSON with an action") from None
    if not isinstance(action, str):
        raise FilterError("its answer is no JSON with an action")
    told = said.get("messages")
    text = told.get("smtp_message") if isinstance(told, dict) else None
    shown = text[:_MAX_TEXT] if isinstance(text, str) and text else ""
    if action == "reject":
        return Verdict(reply=Reply.of(550, "5.7.1", shown or _REJECTED))
    if action == "soft reject":
        return Verdict(reply=Reply.of(451, "4.7.1", shown or _LATER))
    if action == "discard":
        return Verdict(discarded=True)
    if action not in _TAKEN:
        raise FilterError(f"it wants {action[:40]!r}, which is not known here")
    return Verdict(held="the spam filter put it aside" if action == "quarantine" else "", edits=_edits(action, said))


def _edits(action: str, said: Mapping[str, Any]) -> tuple[Edit, ...]:
    edits: list[Edit] = []
    subject = said.get("subject")
    if action == "rewrite subject" and isinstance(subject, str) and subject:
        edits.append(_field("change", 1, "Subject", subject))
    if action == "add header":
        edits.append(_field("add", 0, "X-Spam", "Yes"))
    wanted = said.get("milter")
    if isinstance(wanted, dict):
        edits += _removed(wanted.get("remove_headers"))
        edits += _added(wanted.get("add_headers"))
    signature = said.get("dkim-signature")
    for each in signature if isinstance(signature, list) else [signature]:
        if isinstance(each, str) and each:
            edits.append(_field("insert", 0, "DKIM-Signature", each))
    if len(edits) > MAX_FIELDS:
        raise FilterError(f"it wants more than {MAX_FIELDS} changes of the header")
    return tuple(edits)


def _removed(wanted: object) -> list[Edit]:
    """``{name: number}``: the field of that name from 1 on; 0: all of them; below zero: from the last."""
    edits: list[Edit] = []
    for name, index in wanted.items() if isinstance(wanted, dict) else ():
        if not isinstance(name, str) or not isinstance(index, int):
            raise FilterError("it wants header fields removed that cannot be told from its answer")
        edits.append(_field("remove", index, name, ""))
    return edits


def _added(wanted: object) -> list[Edit]:
    """``{name: value}``, where a value is a text, ``{"value": text, "order": number}``, or a list of these."""
    edits: list[Edit] = []
    for name, values in wanted.items() if isinstance(wanted, dict) else ():
        for each in values if isinstance(values, list) else [values]:
            value = each.get("value") if isinstance(each, dict) else each
            order = each.get("order") if isinstance(each, dict) else None
            if not isinstance(value, str):
                raise FilterError(f"it wants a header field {name[:40]!r} that cannot be told from its answer")
            if isinstance(order, int) and order >= 0:
                edits.append(_field("insert", order, name, value))
            else:
                edits.append(_field("add", 0, name, value))
    return edits


def _field(kind: EditKind, index: int, name: str, value: str) -> Edit:
    return edit_of(kind, index, name.encode(), value.encode("utf-8", "replace"))
