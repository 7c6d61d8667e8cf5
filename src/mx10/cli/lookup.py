"""``mx10 lookup``: what the DNS says about a name; MX records with the addresses of every exchanger."""

import argparse
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from mx10.cli import ABSENT, NO_ANSWER, OK, USAGE, UsageError
from mx10.cli.context import Context

if TYPE_CHECKING:
    from mx10.resolver.asking import Server
    from mx10.resolver.forwarder import Forwarder
    from mx10.resolver.lookup import Looker, Lookup
    from mx10.resolver.servers import Named

SUMMARY = "look up MX records with the addresses of every exchanger, or records of any other type"

_TYPE_NUMBER: Final = re.compile("TYPE[0-9]+", re.IGNORECASE)
"""What is meant for a type, even if the number is too large for one."""

EPILOG: Final = """\
examples:
  mx10 lookup example.org                     MX records, with addresses
  mx10 lookup example.org A AAAA TXT          records of these types
  mx10 lookup 192.0.2.1 2001:db8::1           the names of addresses (PTR)
  mx10 lookup example.org @192.0.2.53:5300    ask this server; also @[2001:db8::53], @ns1.example.org
  mx10 lookup example.org @9.9.9.9 --tls --tls-hostname dns.quad9.net
  mx10 lookup --json TXT < names.txt          one JSON object a line, in order

exit codes:
  0  there are records for every name and type
  1  at least one name does not exist, or has no record of a type
  2  the command, or one of the names, is wrong
  3  at least one question was not answered by any server: try again later
With several names or types the highest of these counts."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="NAME|TYPE|@SERVER",
        help="names or IP addresses, record types (MX if none; PTR for an address), servers to ask, in any order; "
        "without a name, or with -: names from standard input. A name spelled like a type ends in a dot: mx.",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--tcp", dest="way", action="store_const", const="tcp", help="ask over TCP")
    how.add_argument("--tls", dest="way", action="store_const", const="tls", help="ask over TLS (port 853)")
    how.add_argument("--https", dest="way", action="store_const", const="https", help="ask over HTTPS (port 443)")
    parser.add_argument("--https-path", metavar="PATH", help="path of the URL with --https (/dns-query)")
    parser.add_argument("--tls-hostname", metavar="NAME", help="the name that the server's certificate must bear")
    parser.add_argument("--insecure", action="store_true", help="do not check the server's certificate")
    parser.add_argument("--dnssec", action="store_true", help="ask for signatures, and say whether it is authenticated")
    parser.add_argument("--reverse", action="store_true", help="names are IP addresses: look up their names (PTR)")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--short", action="store_true", help="the data alone, as dig +short prints it")
    shown.add_argument("--json", action="store_true", help="one JSON object a line for each name and type")
    parser.epilog = EPILOG


class _Words(NamedTuple):
    """The words of the command line by what they are."""

    names: list[str]
    types: tuple[int, ...]
    servers: list["Named"]


class _Result(NamedTuple):
    """What was found for a name, or what is wrong with it."""

    text: str
    found: tuple["Lookup", ...] = ()
    error: str = ""


def run(args: argparse.Namespace, context: Context) -> int:
    words = _sort(args.words)
    _check(args)
    from mx10.resolver.lookup import wanted_from_text

    if "-" in words.names and len(words.names) > 1:
        raise UsageError("lookup: - stands for standard input; write it alone, or put the other names there too")
    for text in words.names if words.names != ["-"] else ():
        try:
            wanted_from_text(text, words.types, reverse=args.reverse)
        except ValueError as error:
            raise UsageError(f"lookup: {error}") from None
    if not words.names and sys.stdin.isatty():
        mend = "as in mx10 lookup example.org; a name spelled like a type ends in a dot"
        raise UsageError(f"lookup: a name is missing, {mend}")
    import asyncio

    return asyncio.run(_run(args, words, context))


def _sort(words: Sequence[str]) -> _Words:
    """Tell names, types and servers apart.

    Raises:
        UsageError: a type or a server is wrong.
    """
    from mx10.dns.rrtypes import type_from_text
    from mx10.resolver.lookup import RecordTypeError, record_type
    from mx10.resolver.servers import ServerError, server_from_text

    names, types, servers = [], [], []
    for word in words:
        try:
            if word.startswith("@"):
                servers.append(server_from_text(word[1:]))
                continue
            try:
                type_from_text(word)
            except ValueError:
                if not _TYPE_NUMBER.fullmatch(word):
                    names.append(word)
                    continue
            types.append(record_type(word))
        except (ServerError, RecordTypeError) as error:
            raise UsageError(f"lookup: {error}") from None
    return _Words(names, tuple(dict.fromkeys(types)), servers)


def _check(args: argparse.Namespace) -> None:
    """Options that mean nothing together."""
    if args.way not in ("tls", "https"):
        for option, given in (("--tls-hostname", args.tls_hostname), ("--insecure", args.insecure)):
            if given:
                raise UsageError(f"lookup: {option} is about certificates: write it with --tls or --https")
    if args.https_path is not None:
        if args.way != "https":
            raise UsageError("lookup: --https-path is of use with --https only")
        if not args.https_path.startswith("/") or not args.https_path.isascii() or not args.https_path.isprintable():
            raise UsageError("lookup: --https-path begins with / and is ASCII, as /dns-query")
    if args.tls_hostname is not None:
        from mx10.names import DomainError, ascii_text, domain_from_text

        try:
            args.tls_hostname = ascii_text(domain_from_text(args.tls_hostname))
        except DomainError as error:
            raise UsageError(f"lookup: --tls-hostname: {error}") from None


async def _run(args: argparse.Namespace, words: _Words, context: Context) -> int:
    from mx10.cli import stream
    from mx10.cli.progress import Progress
    from mx10.resolver.lookup import NAMES_AT_ONCE, Looker
    from mx10.resolver.servers import ServerNotFoundError

    try:
        forwarder = await _forwarder(args, words.servers, context)
    except ServerNotFoundError as error:
        print(f"mx10: lookup: {error}", file=sys.stderr)
        return NO_ANSWER
    looker = Looker(forwarder, system=forwarder.system, addresses=not args.short)

    async def work(text: str) -> _Result:
        return await _one(text, looker, words.types, reverse=args.reverse)

    progress = Progress("names")
    worst = OK
    blank = False
    try:
        async for result in stream.in_order(_texts(words.names), work, NAMES_AT_ONCE):
            progress.step()
            if result.error or args.short:
                progress.clear()
            blank = _print(result, args, context, blank=blank)
            worst = max(worst, _exit_code(result))
    finally:
        progress.clear()
        await forwarder.close()
    return worst


def _texts(names: list[str]) -> AsyncIterator[str]:
    from mx10.cli import stream

    return stream.standard_input() if names in ([], ["-"]) else stream.given(names)


async def _forwarder(args: argparse.Namespace, named: list["Named"], context: Context) -> "Forwarder":
    """Whoever is to be asked, in the way that is wanted.

    Raises:
        ServerNotFoundError: a server's name leads to no address.
    """
    from mx10.resolver.asking import Transport
    from mx10.resolver.forwarder import Forwarder
    from mx10.resolver.servers import find

    settings = context.config.resolver
    via = _via(args)
    if not named:
        return Forwarder(settings, via=via, dnssec=args.dnssec)
    transport = Transport(args.way or "udp")
    servers: list[Server] = []
    # The lab's nameservers have their port in common.
    port = context.config.lab.port if context.lab else settings.port
    async with Forwarder(settings) as usual:
        for one in named:
            servers += await find(one, transport, usual, port)
    return Forwarder(settings, servers=servers, via=via, dnssec=args.dnssec)


def _via(args: argparse.Namespace) -> "Callable[[Server], Server]":
    from mx10.resolver.asking import DEFAULT_PORTS, Transport

    def changed(server: "Server") -> "Server":
        if args.way is None:
            return server
        transport = Transport(args.way)
        # A port of the configuration, or of resolv.conf, is that of plain DNS.
        encrypted = transport in (Transport.TLS, Transport.HTTPS) and server.transport is not transport
        return replace(
            server,
            transport=transport,
            port=DEFAULT_PORTS[transport] if encrypted else server.port,
            hostname=args.tls_hostname or server.hostname,
            path=args.https_path or server.path,
            verify=not args.insecure,
        )

    return changed


async def _one(text: str, looker: "Looker", types: tuple[int, ...], *, reverse: bool) -> _Result:
    from mx10.resolver.lookup import wanted_from_text

    try:
        wanted = wanted_from_text(text, types, reverse=reverse)
    except ValueError as error:
        return _Result(text, error=str(error))
    return _Result(text, await looker.look_up(wanted))


def _print(result: _Result, args: argparse.Namespace, context: Context, *, blank: bool) -> bool:
    """Print a result; ``blank``: an empty line goes before. Returns whether one goes before the next."""
    if args.json:
        import json

        shown = [one.to_json() for one in result.found] or [{"asked": result.text, "error": result.error}]
        print("\n".join(json.dumps(one, ensure_ascii=False) for one in shown), flush=True)
        return False
    if result.error:
        print(f"mx10: lookup: {result.error}", file=sys.stderr)
        return blank
    from mx10.cli.lookup_text import lookup_text, short_text
    from mx10.resolver.answer import Status

    if not args.short:
        text = "\n\n".join(lookup_text(one, context.style, dnssec=args.dnssec) for one in result.found)
        # Whoever reads through a pipe gets each result when it is known.
        print(("\n" if blank else "") + text, flush=True)
        return True
    for one in result.found:
        if one.status is Status.FAILURE:
            from mx10.cli.text import plain

            print(f"mx10: lookup: {one.name} {one.type}: {plain(one.answer.reason)}", file=sys.stderr)
        elif text := short_text(one):
            print(text)
    sys.stdout.flush()
    return False


def _exit_code(result: _Result) -> int:
    from mx10.resolver.answer import Status

    codes = {Status.OK: OK, Status.NODATA: ABSENT, Status.NXDOMAIN: ABSENT, Status.FAILURE: NO_ANSWER}
    return USAGE if result.error else max(codes[one.status] for one in result.found)
