"""``mx10 backup``: make this host a backup MX of a domain, in one step."""

import argparse
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mx10.cli import ABSENT, NO_ANSWER, OK, UsageError
from mx10.cli.context import Context

if TYPE_CHECKING:
    from mx10.relay.courier.transports import Transports
    from mx10.relay.door.recipients.rules import Rules
    from mx10.relay.standing import Standing
    from mx10.store.connect import Store

SUMMARY = "make this host a backup MX of a domain: check its records, find the primary, learn who its recipients are"

AT_ONCE: Final = 20
"""Recipients that are being asked for at one time."""
SHOWN: Final = 20
"""Refused recipients that are named; with --json all are."""

EPILOG: Final = """\
examples:
  mx10 backup example.com                              by the name in relay.hostname
  mx10 backup example.com --hostname mx2.example.net   by this name
  mx10 backup example.com --recipients people.txt      and learn who is there, an address a line
  mx10 backup --list
  mx10 backup --remove example.com                     mail that waits is still delivered

exit codes:
  0  the domain is set up, and all is as it should be
  1  it is set up and something is missing, or it cannot be set up; the output says what to do
  2  the command, the configuration or a file is wrong
  3  the DNS or the store could not be asked: try again later"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "mx10 backup DOMAIN [--hostname NAME] [--recipients FILE] [--json]\n"
        "       mx10 backup --remove DOMAIN [--json]\n"
        "       mx10 backup --list [--json]"
    )
    parser.add_argument("domain", nargs="?", metavar="DOMAIN", help="whose mail is to be taken, and passed on")
    parser.add_argument("--hostname", metavar="NAME", help="by which MX records mean this host; else relay.hostname")
    parser.add_argument("--recipients", metavar="FILE", help="addresses to ask the primary for now, one a line")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="show the domains that were set up")
    what.add_argument("--remove", action="store_true", help="take no more mail for the domain")
    parser.add_argument("--json", action="store_true", help="one JSON object a domain")
    parser.epilog = EPILOG


@dataclass(slots=True)
class _Outcome:
    """What came of it.

    Attributes:
        said: of the primary.
        no_address: why nobody finds this host by its name; empty: it has an address.
        listens: whether the relay takes mail anywhere.
        rule: who says whether a recipient exists: ``ask``, ``rule``, ``any`` or ``here``.
        refused: recipients that the primary does not know.
    """

    domain: str
    hostname: str
    standing: "Standing"
    new: bool = False
    reached: bool | None = None
    takes_all: bool | None = None
    said: str = ""
    no_address: str = ""
    listens: bool = True
    rule: str = "ask"
    known: int = 0
    given: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def done(self) -> bool:
        from mx10.relay.standing import Place

        return self.standing.place in (Place.BEHIND, Place.NOT_LISTED)

    @property
    def code(self) -> int:
        from mx10.relay.standing import Place

        if self.standing.place is Place.UNKNOWN:
            return NO_ANSWER
        return OK if self.standing.place is Place.BEHIND and self.listens and not self.no_address else ABSENT


def run(args: argparse.Namespace, context: Context) -> int:
    import asyncio

    from mx10.store.errors import StoreError

    if (args.domain is None) is not args.list:
        raise UsageError("backup: name one domain, or say --list: mx10 backup example.com")
    if (args.list or args.remove) and (args.hostname or args.recipients):
        raise UsageError("backup: --hostname and --recipients belong to a domain that is set up")
    try:
        if args.list:
            return _list(args, context)
        domain = _name(args.domain, "DOMAIN")
        if args.remove:
            return _remove(args, context, domain)
        # All that can be wrong is found before anything is said to anybody.
        hostname = _hostname(args, context)
        recipients = _recipients(args.recipients, domain)
        outcome = asyncio.run(_set_up(context, domain, hostname, recipients))
    except StoreError as error:
        print(f"mx10 backup: {error}", file=sys.stderr)
        return NO_ANSWER
    if args.json:
        _print_json(_to_json(outcome))
    else:
        _print(outcome, context)
    return outcome.code


# ---------------------------------------------------------------- what was asked for


def _name(text: str, what: str) -> str:
    """A domain in A-labels."""
    from mx10.names import DomainError, ascii_text, domain_from_text

    try:
        found = ascii_text(domain_from_text(text))
    except DomainError as error:
        raise UsageError(f"backup: {what}: {error}") from None
    if found == ".":
        raise UsageError(f"backup: {what}: the root is no mail domain")
    return found


def _hostname(args: argparse.Namespace, context: Context) -> str:
    import socket

    # The system's own name is never asked of the DNS; without a dot it means nothing elsewhere.
    own = socket.gethostname()
    name = args.hostname or context.config.relay.hostname or (own if "." in own else "")
    if not name:
        raise UsageError("backup: which host is the backup? Say --hostname mx2.example.net, or set relay.hostname")
    return _name(name, "--hostname" if args.hostname else "relay.hostname")


def _recipients(file: str | None, domain: str) -> list[str]:
    from pathlib import Path

    from mx10.relay.door.recipients.lists import read_list
    from mx10.relay.door.recipients.rules import RuleError

    if file is None:
        return []
    try:
        found = sorted(read_list(Path(file)))
    except RuleError as error:
        raise UsageError(f"backup: {error}") from None
    if other := next((each for each in found if each.rpartition("@")[2] != domain), None):
        raise UsageError(f"backup: {file}: {other} is no recipient of {domain}; each domain has a file of its own")
    if any(each.startswith("@") for each in found):
        raise UsageError(f'backup: {file}: @{domain} is everybody; for that, set recipients.rules = ["{domain} any"]')
    return found


def _rules(context: Context) -> "tuple[Rules, Transports]":
    from mx10.relay.courier.transports import TransportError, parse_transports
    from mx10.relay.door.recipients.rules import RuleError, parse_rules

    try:
        return parse_rules(context.config.recipients.rules), parse_transports(context.config.relay.transports)
    except RuleError as error:
        raise UsageError(f"backup: {error}") from None
    except TransportError as error:
        raise UsageError(f"backup: relay.transports: {error}") from None


# ---------------------------------------------------------------- setting up


async def _set_up(context: Context, domain: str, hostname: str, recipients: list[str]) -> _Outcome:
    from mx10.relay.backing import BackedUp, set_up
    from mx10.relay.courier.send import clock
    from mx10.relay.spool.opening import open_spool
    from mx10.relay.standing import standing
    from mx10.resolver import Forwarder
    from mx10.routing import route

    rules, transports = _rules(context)
    names = (hostname, *context.config.relay.other_names)
    async with Forwarder(context.config.resolver) as resolver:
        found = await route(domain, this_host=names, resolver=resolver, settings=context.config.routing)
        outcome = _Outcome(domain, hostname, standing(found, domain, hostname))
        if not outcome.done:
            return outcome
        store = open_spool(context.config, create=True).store
        try:
            outcome.listens = bool(context.config.relay.listen)
            outcome.no_address = await _no_address(hostname, resolver)
            primaries = tuple(one.host for one in outcome.standing.primaries)
            outcome.new = set_up(store, BackedUp(domain, clock(), hostname, primaries))
            await _learn(context, outcome, recipients, rules, transports, resolver, store)
        finally:
            store.close()
    return outcome


async def _no_address(hostname: str, resolver: Any) -> str:
    """Why nobody finds a host; empty: it has an address, or that cannot be looked up now."""
    from mx10.relay.courier.transports import addresses_of

    found, problem = await addresses_of(hostname, resolver)
    return "" if found or problem else f"{hostname} has no address: publish an A or AAAA record of it"


async def _learn(
    context: Context,
    outcome: _Outcome,
    recipients: list[str],
    rules: "Rules",
    transports: "Transports",
    resolver: Any,
    store: "Store",
) -> None:
    """Ask the primary for those who were named, and how it takes it."""
    import asyncio
    from random import Random

    from mx10.cli.progress import Bar
    from mx10.lab.here import LabOnly
    from mx10.relay.courier.send import NobodyIsDown, clock
    from mx10.relay.courier.values import TlsPolicy
    from mx10.relay.courier.ways import Surroundings
    from mx10.relay.door.recipients import CallAhead, Recipients, Verdict, links_for_asking, parse_rules

    settings, relay = context.config.recipients, context.config.relay
    links = links_for_asking(outcome.hostname, settings.ask_seconds, relay.ca_file, relay.local_addresses)
    around = Surroundings(
        outcome.hostname,
        resolver,
        LabOnly(links) if context.lab else links,
        NobodyIsDown(),
        clock,
        Random(),
        transports,
        context.config.routing,
        (outcome.hostname, *relay.other_names),
        relay.port,
        TlsPolicy.OPPORTUNISTIC,
    )
    call = CallAhead(around, seconds=settings.ask_seconds, at_once=1)
    # The primary alone: lists and databases that rules name are not looked at, nor have to be there.
    known = Recipients(settings, parse_rules(("* ask",)), store, call, clock=clock)
    try:
        postmaster = f"postmaster@{outcome.domain}"
        heard = await call.ask(postmaster, probe=lambda: True)
        outcome.said = heard.reply
        if heard.asked:
            outcome.reached, outcome.takes_all = heard.reached, heard.takes_all
        rule = rules.of(outcome.domain)
        if not rule.ask or not heard.asked:
            outcome.rule = "any" if rule.any else "here" if not heard.asked else "rule"
            return
        known.heard(postmaster, heard, clock())
        bar, turn = Bar("asking", len(recipients), "recipients"), asyncio.Semaphore(AT_ONCE)

        async def one(address: str) -> None:
            async with turn:
                answer = await known.ask(address, clock())
            if answer.verdict is Verdict.KNOWN:
                outcome.known += 1
            elif answer.verdict is Verdict.UNKNOWN:
                outcome.refused.append(address)
            else:
                known.given(address, clock())
                outcome.given += 1
            bar.reach(outcome.known + outcome.given + len(outcome.refused))

        try:
            for at in range(0, len(recipients), 1000):
                await asyncio.gather(*map(one, recipients[at : at + 1000]))
                await known.memory.write()
        finally:
            bar.clear()
    finally:
        await call.close()
        await links.close()
        await known.memory.write()
        await known.close()


# ---------------------------------------------------------------- what is shown


def _print(outcome: _Outcome, context: Context) -> None:
    from mx10.cli.text import plain
    from mx10.relay.standing import Place

    standing, paint = outcome.standing, context.style.paint
    print(paint(outcome.domain, "bold"))
    if not outcome.done:
        look = "yellow" if standing.place is Place.UNKNOWN else "red"
        print(paint(f"  not set up: {plain(standing.why)}", look))
        _print_records(outcome, context)
        return
    for one in standing.primaries:
        where = ", ".join(address.text for address in one.addresses) or "no address is known"
        print(f"  primary: {one.host} (preference {one.preference}; {where})")
    if standing.place is Place.BEHIND:
        it = "it" if len(standing.primaries) == 1 else "them"
        print(f"  {outcome.hostname} stands behind {it}, with preference {standing.preference}")
    if outcome.rule == "any":
        print("  recipients: all are taken (recipients.rules)")
    elif outcome.rule == "here":
        print("  recipients: those who have a mailbox here, or all of a webhook (relay.transports)")
    elif outcome.rule == "rule":
        print("  recipients: those that recipients.rules names")
    else:
        print(f"  {_primary_in_words(outcome)}")
    if outcome.known or outcome.given or outcome.refused:
        print(f"  recipients: {_recipients_in_words(outcome)}")
        for each in outcome.refused[:SHOWN]:
            print(paint(f"    refused: {plain(each)}", "yellow"))
        if len(outcome.refused) > SHOWN:
            print(f"    and {len(outcome.refused) - SHOWN} more; --json names all")
    print(paint("  set up: the relay takes its mail", "green") + ("" if outcome.new else " (it did before)"))
    _print_records(outcome, context)


def _primary_in_words(outcome: _Outcome) -> str:
    from mx10.cli.text import plain

    if not outcome.reached:
        return f"the primary does not answer now ({plain(outcome.said)}); the relay learns who exists when it does"
    if outcome.takes_all:
        return (
            "the primary takes every address, also one that was made up: who exists cannot be learned from it;"
            f' give the relay a list: recipients.rules = ["{outcome.domain} list:/path/to/file", "* ask"]'
        )
    if outcome.takes_all is None:
        return (
            f"the primary does not tell who exists ({plain(outcome.said)}): let it answer questions of this host,"
            f' or give the relay a list: recipients.rules = ["{outcome.domain} list:/path/to/file", "* ask"]'
        )
    return "the primary answers, and refuses who does not exist: the relay learns by asking"


def _recipients_in_words(outcome: _Outcome) -> str:
    parts = [f"{outcome.known:,} known to it"] if outcome.known else []
    if outcome.refused:
        parts.append(f"{len(outcome.refused):,} it refuses")
    if outcome.given:
        parts.append(f"{outcome.given:,} taken on your word until it can be asked")
    return ", ".join(parts)


def _print_records(outcome: _Outcome, context: Context) -> None:
    from mx10.relay.standing import Place

    for trouble in _troubles(outcome):
        print(context.style.paint(f"  {trouble}", "yellow"))
    records = outcome.standing.records
    if not records:
        return
    what = "publish instead of the record it has" if outcome.standing.place is Place.FIRST else "no mail comes here yet"
    mend = "" if outcome.standing.place is Place.FIRST else "; publish"
    print(context.style.paint(f"  {what}{mend}:", "yellow"))
    for record in records:
        print(f"    {record}")


def _troubles(outcome: _Outcome) -> list[str]:
    """What else keeps mail from coming."""
    found = [outcome.no_address] if outcome.no_address else []
    if not outcome.listens:
        found.append("relay.listen is empty: `mx10 serve` takes no mail yet; name an address there, with port 25")
    return found


def _to_json(outcome: _Outcome) -> dict[str, Any]:
    standing = outcome.standing
    return {
        "domain": outcome.domain,
        "hostname": outcome.hostname,
        "set_up": outcome.done,
        "new": outcome.new,
        "place": str(standing.place),
        "why": standing.why or None,
        "preference": standing.preference,
        "primaries": [
            {
                "host": one.host,
                "preference": one.preference,
                "addresses": [address.text for address in one.addresses],
            }
            for one in standing.primaries
        ],
        "records": list(standing.records),
        "troubles": _troubles(outcome),
        "primary": {"reached": outcome.reached, "takes_all": outcome.takes_all, "said": outcome.said or None},
        "recipients": {
            "from": outcome.rule,
            "known": outcome.known,
            "given": outcome.given,
            "refused": outcome.refused,
        },
    }


def _print_json(shown: dict[str, Any]) -> None:
    import json

    print(json.dumps(shown, ensure_ascii=False))


# ---------------------------------------------------------------- the other two


def _list(args: argparse.Namespace, context: Context) -> int:
    from datetime import UTC, datetime

    from mx10.cli.text import plain, table
    from mx10.relay.backing import backed_up
    from mx10.relay.courier.send import clock
    from mx10.relay.door.recipients.memory import count_known
    from mx10.relay.spool.opening import open_spool
    from mx10.store.errors import NoStoreError

    try:
        store = open_spool(context.config).store
    except NoStoreError:
        domains, known = [], {}
    else:
        try:
            domains, known = backed_up(store), count_known(store, clock())
        finally:
            store.close()
    if args.json:
        for each in domains:
            _print_json(
                {
                    "domain": each.domain,
                    "since": datetime.fromtimestamp(each.at / 1000, UTC).isoformat(timespec="seconds"),
                    "hostname": each.hostname,
                    "primaries": list(each.primaries),
                    "known_recipients": known.get(each.domain, 0),
                }
            )
        return OK
    if not domains:
        print("no domain was set up with `mx10 backup DOMAIN`; relay.domains may name some, too")
        return OK
    rows = [
        (
            each.domain,
            f"{datetime.fromtimestamp(each.at / 1000, UTC):%Y-%m-%d}",
            plain(", ".join(each.primaries)),
            f"{known.get(each.domain, 0):,}",
        )
        for each in domains
    ]
    print(table(("domain", "since", "primary then", "known recipients"), rows))
    return OK


def _remove(args: argparse.Namespace, context: Context, domain: str) -> int:
    from mx10.relay.backing import take_down
    from mx10.relay.door.recipients.memory import forget_domain
    from mx10.relay.spool.opening import open_spool
    from mx10.store.errors import NoStoreError

    try:
        store = open_spool(context.config).store
    except NoStoreError:
        gone = False
    else:
        try:
            gone = take_down(store, domain)
            if gone:
                forget_domain(store, domain)
        finally:
            store.close()
    if args.json:
        _print_json({"domain": domain, "removed": gone})
    elif gone:
        print(f"{domain}: the relay takes no more mail for it; what waits is still delivered. Remove its MX record")
    else:
        print(
            f"{domain} was not set up with `mx10 backup`; `mx10 backup --list` shows those that were", file=sys.stderr
        )
    return OK if gone else ABSENT
