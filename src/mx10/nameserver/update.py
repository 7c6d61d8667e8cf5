"""Dynamic updates as they come in: who, how many, which zone; then one change set in the store, or a response code that
says why not (RFC 2136 section 3, RFC 3007).

What an update means is told in ``updating``, who may send it in ``update_policy``. Updates for a zone we follow are not
passed on to its primary (RFC 2136 section 6 leaves that open): they are refused, as those for zones from files are.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Final, Protocol, TypeVar

from mx10.config import UpdateSettings
from mx10.dns.message import QR, Edns, Message, encode
from mx10.dns.rrtypes import Opcode, Rcode, rcode_to_text
from mx10.dns.wirename import to_text
from mx10.logs import get_logger
from mx10.nameserver.rate import Rate, Seldom
from mx10.nameserver.update_policy import Client, PolicyError, UpdateRule, is_known, refusal, rule_from_text
from mx10.nameserver.updating import UpdateError, check_prerequisites, check_updates, updated, zone_of
from mx10.store.errors import StoreError
from mx10.zones.ledger import (
    GENERATED,
    Author,
    ConflictError,
    Edit,
    InvalidEditError,
    Ledger,
    LedgerError,
    NoSuchZoneError,
    RuleError,
    SignerMissingError,
)
from mx10.zones.zone import RRset

_TRIES: Final = 5
"""How often an update is done anew because somebody else changed the zone meanwhile."""
_LINES: Final = 20
"""Updates that were not done, told in the log in one second."""
_EDE: Final = 15
_EDE_OTHER: Final = 0
_EDE_PROHIBITED: Final = 18
_EDE_NOT_AUTHORITATIVE: Final = 20
_EDE_TEXT: Final = 200
"""Octets of the words that go along."""
_T = TypeVar("_T")

log = get_logger("update")


class InStore(Protocol):
    """Runs a function of the store in the thread for it."""

    def __call__(self, function: Callable[..., _T], /, *arguments: object) -> Awaitable[_T]: ...


class Updater:
    """Does dynamic updates.

    Args:
        ledger: called in the thread for the store.
        in_store: runs a function in that thread.
        elsewhere: whether a zone is served from a file, and so not ours to change.
        clock: seconds on a clock that does not go back.
    """

    def __init__(
        self,
        ledger: Ledger,
        in_store: InStore,
        settings: UpdateSettings,
        *,
        elsewhere: Callable[[bytes], bool] = lambda apex: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._in_store = in_store
        self._settings = settings
        self._elsewhere = elsewhere
        self._clock = clock
        self._rate = Rate(settings.rate)
        self._waiting = 0
        self._seldom = Seldom(_LINES, clock)
        self.counts: dict[str, int] = {}
        """Updates by response code, for the metrics."""

    async def answer(self, message: Message, client: Client) -> bytes:
        """The response to an update, which then is done or not."""
        rcode, said, info_code = Rcode.NOERROR, "", _EDE_OTHER
        try:
            apex = zone_of(message)
            if not self._rate.admits(client.address, self._clock()):
                info_code = _EDE_PROHIBITED
                raise UpdateError(Rcode.REFUSED, f"more than {self._settings.rate} updates a second (update.rate)")
            if self._waiting >= self._settings.waiting:
                raise UpdateError(Rcode.SERVFAIL, f"{self._waiting} updates wait already (update.waiting)")
            self._waiting += 1
            try:
                await self._in_store(self._update, message, apex, client)
            finally:
                self._waiting -= 1
        except UpdateError as error:
            rcode, said = error.rcode, str(error)
        except StoreError as error:
            rcode, said = Rcode.SERVFAIL, str(error)
        except Exception:
            rcode = Rcode.SERVFAIL
            log.exception("update failed", client=str(client))
        self.counts[rcode.name] = self.counts.get(rcode.name, 0) + 1
        if said:
            zone = to_text(message.question.name) if message.question is not None else "?"
            # A prerequisite that is not met is how updates talk; it troubles nobody.
            tell = log.warning if rcode in (Rcode.REFUSED, Rcode.SERVFAIL, Rcode.NOTAUTH) else log.info
            self._seldom.tell(
                tell, "update not done", zone=zone, client=str(client), rcode=rcode_to_text(rcode), cause=said
            )
        if rcode == Rcode.REFUSED:
            info_code = _EDE_PROHIBITED
        elif rcode == Rcode.NOTAUTH:
            info_code = _EDE_NOT_AUTHORITATIVE
        return _response(message, rcode, info_code, said)

    def _update(self, message: Message, apex: bytes, client: Client) -> None:
        """Do an update; in the thread of the store.

        Raises:
            UpdateError: it is not to be done.
            StoreError: the store cannot be used.
        """
        if self._elsewhere(apex):
            raise UpdateError(Rcode.REFUSED, "the zone comes from a file: change it there")
        count = len(message.answer) + len(message.authority)
        if count > self._settings.max_records:
            raise UpdateError(Rcode.REFUSED, f"it has {count} records (update.max_records)")
        for left in reversed(range(_TRIES)):
            try:
                self._once(message, apex, client)
                return
            except NoSuchZoneError:
                raise UpdateError(Rcode.NOTAUTH, "there is no such zone in the store") from None
            except ConflictError as error:
                if not left:
                    raise UpdateError(Rcode.SERVFAIL, str(error)) from error
            except (RuleError, InvalidEditError) as error:
                raise UpdateError(Rcode.REFUSED, str(error)) from error
            except SignerMissingError as error:
                raise UpdateError(Rcode.SERVFAIL, str(error)) from error
            except LedgerError as error:
                raise UpdateError(Rcode.REFUSED, str(error)) from error

    def _once(self, message: Message, apex: bytes, client: Client) -> None:
        info = self._ledger.info(apex)
        if info.kind != "primary":
            raise UpdateError(Rcode.REFUSED, f"this is a {info.kind} zone here; send updates to its primary")
        try:
            rules = _rules(info.options.update_policy, apex)
        except PolicyError as error:
            # One rule that cannot be read may be a "deny": then nobody is let in.
            raise UpdateError(Rcode.REFUSED, f"its update policy cannot be read: {error}") from None
        if not is_known(rules, client):
            raise UpdateError(Rcode.REFUSED, "no rule of the zone's update policy is for this client")
        seen: dict[bytes, Mapping[int, RRset]] = {}

        def look(owner: bytes) -> Mapping[int, RRset]:
            if owner not in seen:
                seen[owner] = self._ledger.node(apex, owner)
            return seen[owner]

        generated = GENERATED if info.signed else frozenset()
        check_prerequisites(message.answer, apex, look)
        check_updates(message.authority, apex)
        if why := refusal(rules, message.authority, apex, client, look, generated):
            raise UpdateError(Rcode.REFUSED, why)
        made = updated(message.authority, apex, look, generated)
        if made:
            edits = [Edit(owner, rrtype, rrset) for (owner, rrtype), rrset in made.items()]
            done = self._ledger.change(apex, edits, Author(str(client)), expected_serial=info.serial, kind="update")
            if done is not None:
                serial = done.serial_after
                log.info("zone updated", zone=to_text(apex), serial=serial, change=done.id, client=str(client))


@lru_cache(maxsize=1024)
def _rules(texts: tuple[str, ...], apex: bytes) -> tuple[UpdateRule, ...]:
    return tuple(rule_from_text(text, apex) for text in texts)


def _response(message: Message, rcode: Rcode, info_code: int, said: str) -> bytes:
    """RFC 2136 section 3.8: the id, the zone and the code; why, where the client speaks EDNS (RFC 8914)."""
    edns = None
    if message.edns is not None:
        text = said.encode()[:_EDE_TEXT].decode(errors="ignore").encode()
        options = ((_EDE, info_code.to_bytes(2, "big") + text),) if said else ()
        edns = Edns(options=options)
    return encode(Message(message.id, QR | Opcode.UPDATE << 11, message.question, edns=edns, rcode=rcode))
