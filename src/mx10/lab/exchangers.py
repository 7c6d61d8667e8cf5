"""The exchangers of the lab, and what they took: which there are follows from the zones, how they are from what people
order with ``mx10 lab down`` and ``mx10 lab back``. Most keep what they take (``mailhost``); one may be our relay
(``relayhost``), and passes it on.

What was ordered holds while the lab runs, also where zones change meanwhile.
"""

import asyncio
import ssl
from collections.abc import Mapping
from email.errors import MessageError
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from email.policy import compat32
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from mx10.config import Config
from mx10.lab.control import Answer, OrderError
from mx10.lab.mailhost import Health, Mailbox, MailHost, Message
from mx10.lab.plan import MailPlace
from mx10.lab.relayhost import RelayHost
from mx10.logs import get_logger
from mx10.names import DomainError, ascii_text, domain_from_text

if TYPE_CHECKING:
    from mx10.lab.certificates import Authority

_HEADER: Final = 16 * 1024
"""Octets of a message in which its subject is looked for."""
_SUBJECT: Final = 200
"""Characters of a subject that are shown."""

log = get_logger("lab")


class Exchangers:
    """All of them.

    Args:
        config: ``lab`` says at which port each takes mail, and where the relay asks.
        folder: for certificates; None: there is no TLS.
    """

    def __init__(self, config: Config, folder: Path | None = None) -> None:
        self.port = config.lab.mail_port
        self.box = Mailbox()
        self._config = config
        self._folder = folder
        self._authority: Authority | None = None
        self._hosts: dict[str, MailHost | RelayHost] = {}
        self._ordered: dict[str, Health] = {}
        self._changing = asyncio.Lock()

    @property
    def running(self) -> int:
        """How many take mail."""
        return sum(host.health == "up" and not host.fault for host in self._hosts.values())

    async def follow(self, places: Mapping[str, MailPlace]) -> None:
        """Start, stop and change exchangers until they are as planned. One that cannot be had is told, and missing."""
        async with self._changing:
            for name in self._hosts.keys() - places.keys():
                await self._hosts.pop(name).close()
                self._ordered.pop(name, None)
                log.info("exchanger removed", host=name)
            fresh: list[MailHost | RelayHost] = []
            for name, place in places.items():
                host = self._hosts.get(name)
                if (
                    host is not None
                    and host.addresses == place.addresses
                    and isinstance(host, RelayHost) == place.relay
                ):
                    await host.follow(place)
                    continue
                if host is not None:
                    await host.close()
                made = self._make(name, place)
                self._hosts[name] = made
                fresh.append(made)
            # Only now: one may stand where another one stood.
            for host in fresh:
                await self._become(host, self._ordered.get(host.name, "up"))

    def _make(self, name: str, place: MailPlace) -> MailHost | RelayHost:
        certificate = self._certify(name, place)
        if place.relay:
            return RelayHost(name, self.port, place, self._config, self.box, certificate)
        if certificate is None:
            return MailHost(name, self.port, place, self.box)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        return MailHost(name, self.port, place, self.box, context)

    def _certify(self, name: str, place: MailPlace) -> Path | None:
        if self._folder is None:
            return None
        if self._authority is None:
            # Only for those labs that have exchangers.
            from mx10.lab.certificates import Authority

            self._authority = Authority(self._folder)
        return self._authority.certify(name, place.addresses)

    async def close(self) -> None:
        """Stop them all."""
        for host in self._hosts.values():
            await host.close()
        self._hosts.clear()

    async def order(self, order: Mapping[str, Any]) -> Answer:
        """Do what a command wants.

        Raises:
            OrderError: it cannot be done: why, and what can.
        """
        match order.get("do"):
            case "hosts":
                # While one is asked, another may go.
                hosts = [self._hosts[name] for name in sorted(self._hosts)]
                return Answer({"hosts": [await _host_to_json(host) for host in hosts]})
            case "change":
                return await self._change(order.get("host"), order.get("health"))
            case "messages":
                host = None if order.get("host") is None else self._find(order["host"])
                found = [each for each in self.box.messages if host is None or each.host == host.name]
                return Answer({"messages": [_message_to_json(each) for each in found], "taken": self.box.taken})
            case "message":
                number = order.get("number")
                message = self.box.find(number) if isinstance(number, int) else None
                if message is None:
                    raise OrderError(self._no_message(number))
                return Answer(_message_to_json(message), message.content)
        raise OrderError("this lab does not know that order: it is of another version than the command")

    async def _change(self, name: object, health: object) -> Answer:
        host = self._find(name)
        if health not in get_args(Health):
            raise OrderError(f"an exchanger is never {health!r}: choose one of {', '.join(get_args(Health))}")
        async with self._changing:
            before = host.health
            self._ordered[host.name] = cast(Health, health)
            await self._become(host, self._ordered[host.name])
        log.info("exchanger", host=host.name, health=host.health)
        return Answer({**await _host_to_json(host), "before": before})

    async def _become(self, host: MailHost | RelayHost, health: Health) -> None:
        await host.be(health)
        if host.fault:
            log.warning(f"{host.name} takes no mail: {host.fault}; another port: lab.mail_port, or MX10_LAB__MAIL_PORT")

    def _find(self, name: object) -> MailHost | RelayHost:
        text = name if isinstance(name, str) else ""
        try:
            found = self._hosts.get(ascii_text(domain_from_text(text)).lower())
        except DomainError:
            found = None
        if found is None:
            names = ", ".join(sorted(self._hosts)) or "none"
            raise OrderError(f"{text} is no exchanger that runs in the lab; those are: {names}")
        return found

    def _no_message(self, number: object) -> str:
        if not self.box.taken:
            return "no exchanger has taken a message yet"
        kept = [each.number for each in self.box.messages]
        return f"there is no message {number}; those from {kept[0]} to {kept[-1]} are kept"


async def _host_to_json(host: MailHost | RelayHost) -> dict[str, Any]:
    return {
        "host": host.name,
        "health": host.health,
        "fault": host.fault or None,
        "addresses": list(host.addresses),
        "port": host.port,
        "domains": sorted(host.domains),
        "people": sorted(host.people),
        "relay": isinstance(host, RelayHost),
        "taken": host.taken,
        "waiting": await host.waiting() if isinstance(host, RelayHost) else 0,
    }


def _message_to_json(message: Message) -> dict[str, Any]:
    return {
        "number": message.number,
        "host": message.host,
        "at": message.at,
        "sender": message.sender,
        "recipients": list(message.recipients),
        "client": message.client,
        "helo": message.helo,
        "octets": len(message.content),
        "subject": _subject(message.content),
    }


def _subject(content: bytes) -> str:
    """The subject, for people; empty: there is none, or none that can be read."""
    try:
        header = BytesHeaderParser(policy=compat32).parsebytes(content[:_HEADER])["Subject"]
        return str(make_header(decode_header(header)))[:_SUBJECT] if header is not None else ""
    except (LookupError, ValueError, MessageError):  # anybody may have written it
        return ""
