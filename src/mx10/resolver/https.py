"""Questions over HTTPS (RFC 8484).

httpx, because it speaks HTTP/2, which RFC 8484 section 5.2 asks for. It is slow to import: only who asks over HTTPS
imports this module.
"""

from dataclasses import replace
from typing import Final

import httpx

from mx10.dns.message import Message, Record
from mx10.resolver.asking import MAX_MESSAGE, Asking, Server, TransportError, believable, query, reason, tls_context

_SHARE: Final = 0.9
"""Of the caller's time, for httpx: what httpx itself gives up it closes; a connection that is being made while the
caller gives up is closed by nobody until it is collected. TCP and TLS have half of it each."""
_TYPE: Final = "application/dns-message"


class Https:
    """Asks one server over HTTPS; connections are kept open until ``close``.

    Args:
        server: whom to ask.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        verify = tls_context(server) if server.verify else False
        # The environment may name a proxy, for the web; a question goes to the server that was named.
        self._client = httpx.AsyncClient(http2=True, verify=verify, trust_env=False)

    async def ask(self, name: bytes, rrtype: int, seconds: float, asking: Asking) -> Message:
        """One question, one response; see ``Exchanger.ask``."""
        server = self._server
        # The id is 0, so that equal questions are equal to caches (RFC 8484 section 4.1).
        octets, question = query(name, rrtype, asking, ident=0, padded=True)
        headers = {
            "content-type": _TYPE,
            "accept": _TYPE,
            # A compressed answer could be far longer than it looks.
            "accept-encoding": "identity",
        }
        # The connection goes to the address that was chosen; the name is for the certificate and the URL.
        host = f"[{server.address}]" if ":" in server.address else server.address
        extensions = {}
        if server.hostname is not None:
            headers["host"] = server.hostname + ("" if server.port == 443 else f":{server.port}")
            extensions["sni_hostname"] = server.hostname
        url = f"https://{host}:{server.port}{server.path}"
        body = bytearray()
        try:
            async with self._client.stream(
                "POST",
                url,
                content=octets,
                headers=headers,
                extensions=extensions,
                timeout=httpx.Timeout(seconds * _SHARE, connect=seconds * _SHARE / 2),
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise TransportError(f"{server}: HTTP status {response.status_code} {response.reason_phrase}")
                if response.headers.get("content-type", "").partition(";")[0].strip() != _TYPE:
                    raise TransportError(f"{server}: the answer is not of type application/dns-message")
                age = response.headers.get("age", "")
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MAX_MESSAGE:
                        raise TransportError(f"{server}: the answer is longer than a DNS message can be")
        except httpx.TimeoutException:
            raise TimeoutError from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransportError(f"{server}: {reason(error)}") from error
        message = believable(bytes(body), question, 0)
        if message is None:
            raise TransportError(f"{server}: the answer is not to the question asked")
        return _older(message, int(age)) if age.isascii() and age.isdigit() and len(age) < 10 else message

    async def close(self) -> None:
        """Close what is open."""
        await self._client.aclose()


def _older(message: Message, seconds: int) -> Message:
    """A response that stood in a cache of HTTP for a while; its TTLs go by what the server said then (RFC 8484 section
    5.1)."""

    def older(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(replace(record, ttl=max(record.ttl - seconds, 0)) for record in records)

    return replace(
        message,
        answer=older(message.answer),
        authority=older(message.authority),
        additional=older(message.additional),
    )
