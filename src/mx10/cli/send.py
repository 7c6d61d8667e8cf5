"""``mx10 send``: deliver a message at once, without a queue, and show each step of route, TLS and SMTP."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from mx10.cli import ABSENT, NO_ANSWER, OK, UsageError
from mx10.cli.context import Context

if TYPE_CHECKING:
    from pathlib import Path

    from mx10.relay.courier.connection import LinkOptions
    from mx10.relay.courier.send import Server, Way
    from mx10.relay.courier.values import Addressee, Connector, Fate, Letter, Step
    from mx10.smtp.auth import Credentials

SUMMARY = "deliver a message at once, without a queue, and show each step of route, TLS and SMTP"

MAX_MESSAGE: Final = 128 << 20
"""Octets of a message that is read."""
MAX_PASSWORD: Final = 4096
"""Octets of a file with a password."""
MAX_RECIPIENTS: Final = 1000

EPILOG: Final = """\
examples:
  mx10 send --from ann@example.net --to bob@example.org message.eml
  mx10 send --from ann@example.net --to bob@example.org --dry-run      would they take it? Nothing is sent
  mx10 send --from '' --to bob@example.org < bounce.eml                from nobody, as bounces are
  mx10 send --from a@x.example --to b@y.example --server mx1.y.example:2525 message.eml
  mx10 send --from a@x.example --to b@y.example --server smtp.x.example --port 587 \\
            --auth-user a --auth-password-file secret message.eml

exit codes:
  0  every recipient was taken, or with --dry-run would be
  1  at least one was refused for good
  2  the command, an address or the message is wrong; nothing was sent
  3  at least one could not be delivered now, or it is not known whether it was: try again later
The highest of these counts."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "mx10 send --from ADDRESS --to ADDRESS [--to ADDRESS ...] [FILE] [OPTION ...]"
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="the message, header and body; none, or -: standard input"
    )
    envelope = parser.add_argument_group("envelope")
    envelope.add_argument("--from", dest="sender", metavar="ADDRESS", help="the sender; '' for a bounce")
    envelope.add_argument("--to", action="append", default=[], metavar="ADDRESS", help="a recipient; may be repeated")
    envelope.add_argument("--ret", choices=("full", "hdrs"), help="what comes back with a report (RFC 3461)")
    envelope.add_argument("--envid", metavar="TEXT", help="what reports name the message by (RFC 3461)")
    envelope.add_argument(
        "--notify", metavar="WORDS", help="when to report: never, or success,failure,delay (RFC 3461)"
    )
    envelope.add_argument("--priority", type=int, metavar="NUMBER", help="-9 to 9 (RFC 6710)")
    envelope.add_argument("--requiretls", action="store_true", help="TLS all the way, or not at all (RFC 8689)")
    where = parser.add_argument_group("where to")
    where.add_argument("--server", metavar="HOST[:PORT]", help="this host, and not those of the route")
    where.add_argument(
        "--port", type=int, metavar="NUMBER", help="25 (relay.port) unless told; 465 with --implicit-tls"
    )
    where.add_argument("--lmtp", action="store_true", help="speak LMTP (RFC 2033)")
    where.add_argument(
        "--local-address", action="append", default=[], metavar="ADDRESS", help="connect from it; one for each family"
    )
    where.add_argument("--hello", metavar="NAME", help="our name; unless told that of this host, or its address")
    where.add_argument("--timeout", type=float, metavar="SECONDS", help="wait no longer for anything")
    tls = parser.add_argument_group("TLS")
    tls.add_argument(
        "--tls",
        choices=("opportunistic", "never", "encrypted", "verified"),
        help="opportunistic: where it is offered, with any certificate (the default); encrypted: or not at all; "
        "verified: with a valid certificate for the host's name (the default with --auth-user)",
    )
    tls.add_argument("--implicit-tls", action="store_true", help="TLS from the first octet (RFC 8314)")
    tls.add_argument("--ca", metavar="FILE", help="authorities to verify with, in place of the system's")
    auth = parser.add_argument_group("AUTH")
    auth.add_argument("--auth-user", metavar="NAME", help="log in as this user")
    secret = auth.add_mutually_exclusive_group()
    secret.add_argument("--auth-password-file", metavar="FILE", help="the password is the first line of the file")
    secret.add_argument("--auth-password-env", metavar="NAME", help="the password is in this environment variable")
    auth.add_argument(
        "--auth-mechanism",
        choices=("SCRAM-SHA-256", "PLAIN", "LOGIN"),
        help="unless told the first of these that is offered",
    )
    auth.add_argument("--auth-without-tls", action="store_true", help="show the password to whoever listens")
    how = parser.add_argument_group("how")
    how.add_argument("--dry-run", action="store_true", help="up to the recipients; no message is sent, or read")
    how.add_argument("--json", action="store_true", help="one JSON object a line for each step and each recipient")
    how.add_argument("--no-chunking", action="store_true", help="DATA, even if BDAT is offered")
    how.add_argument("--no-pipelining", action="store_true", help="one command at a time")
    parser.epilog = EPILOG


def run(args: argparse.Namespace, context: Context) -> int:
    import asyncio

    # All that can be wrong is found before anything is said to anybody.
    sender, recipients = _sender(args), _recipients(args)
    way, options = _way(args, context.config.relay.port), _link_options(args, context.config.relay.ca_file)
    letter = _letter(args, sender)
    return asyncio.run(_run(args, context, letter, recipients, way, options))


async def _run(
    args: argparse.Namespace,
    context: Context,
    letter: "Letter",
    recipients: "list[Addressee]",
    way: "Way",
    options: "LinkOptions",
) -> int:
    from random import Random

    from mx10.lab.here import LabOnly
    from mx10.relay.courier.connection import Links
    from mx10.relay.courier.send import send
    from mx10.resolver import Forwarder

    links = Links(options)
    connect: Connector = LabOnly(links) if context.lab else links
    show = _show_json if args.json else _Shown(context, dry_run=args.dry_run)
    try:
        async with Forwarder(context.config.resolver) as resolver:
            fates = await send(
                letter,
                recipients,
                way,
                resolver=resolver,
                routing=context.config.routing,
                connect=connect,
                chance=Random(),
                listener=show,
            )
    finally:
        await links.close()
    for fate in fates:
        if args.json:
            _print_json(_fate_to_json(fate))
        else:
            print(_in_words(fate, context, dry_run=args.dry_run))
    return max(map(_exit_code, fates))


# ---------------------------------------------------------------- what was asked for


def _sender(args: argparse.Namespace) -> str:
    if args.sender is None:
        raise UsageError("send: the sender is missing: --from ann@example.net, or --from '' for none")
    return "" if args.sender in ("", "<>") else _address(args.sender, "--from")


def _recipients(args: argparse.Namespace) -> "list[Addressee]":
    from mx10.relay.courier.values import Addressee

    if not args.to:
        raise UsageError("send: a recipient is missing: --to bob@example.org")
    if len(args.to) > MAX_RECIPIENTS:
        raise UsageError(f"send: there are {len(args.to)} recipients; at most {MAX_RECIPIENTS} go at once")
    notify = None
    if args.notify is not None:
        words = args.notify.upper().split(",")
        notify = frozenset() if words == ["NEVER"] else frozenset(words)
        if not notify <= {"SUCCESS", "FAILURE", "DELAY"}:
            raise UsageError(f"send: --notify {args.notify}: write never, or some of success,failure,delay")
    addresses = dict.fromkeys(_address(each, "--to") for each in args.to)
    return [Addressee(each, number, notify) for number, each in enumerate(addresses)]


def _address(text: str, option: str) -> str:
    """An address as the envelope has it: the domain with A-labels."""
    from mx10.names import AddressError, ascii_text, parse_address

    try:
        found = parse_address(text)
    except AddressError as error:
        raise UsageError(f"send: {option}: {error}") from None
    local = str(found).rpartition("@")[0]
    return str(found) if found.domain is None else f"{local}@{ascii_text(found.domain)}"


def _way(args: argparse.Namespace, usual: int) -> "Way":
    from mx10.relay.courier.send import Way
    from mx10.relay.courier.values import TlsPolicy

    server, port = (None, None) if args.server is None else _server(args.server)
    if port is not None and args.port is not None and port != args.port:
        raise UsageError(f"send: --server says port {port}, and --port {args.port}: say one of them")
    port = port or (args.port if args.port is not None else 465 if args.implicit_tls else 24 if args.lmtp else usual)
    if not 1 <= port <= 65535:
        raise UsageError(f"send: there is no port {port}: 1 to 65535")
    if args.lmtp and server is None:
        raise UsageError("send: --lmtp needs --server: mail does not travel by LMTP (RFC 2033 section 5)")
    policy: TlsPolicy = TlsPolicy(args.tls or ("verified" if args.auth_user is not None else "opportunistic"))
    if args.auth_without_tls and args.tls is None:
        policy = TlsPolicy.OPPORTUNISTIC
    if args.implicit_tls and policy is TlsPolicy.NEVER:
        raise UsageError("send: --implicit-tls and --tls never contradict each other")
    return Way(port, policy, server, args.implicit_tls, args.lmtp)


def _server(text: str) -> "tuple[Server, int | None]":
    """``mx.example.org``, ``mx.example.org:2525``, ``192.0.2.1``, ``[2001:db8::1]:25``."""
    from ipaddress import ip_address

    from mx10.names import DomainError, domain_from_text
    from mx10.relay.courier.send import Server

    host, colon, port_text = text.rpartition(":")
    if not colon or not (port_text.isascii() and port_text.isdigit()) or (":" in host and not host.endswith("]")):
        host, port_text = text, ""
    bare = host[1:-1].removeprefix("IPv6:") if host.startswith("[") and host.endswith("]") else host
    port = int(port_text[:6]) if port_text else None
    if port is not None and not 1 <= port <= 65535:
        raise UsageError(f"send: --server {text}: there is no port {port_text}: 1 to 65535")
    try:
        return Server(None, ip_address(bare)), port
    except ValueError:
        pass
    try:
        return Server(domain_from_text(host)), port
    except DomainError as error:
        raise UsageError(f"send: --server: {error}") from None


def _link_options(args: argparse.Namespace, ca_file: "Path | None") -> "LinkOptions":
    import socket
    from ipaddress import ip_address
    from pathlib import Path

    from mx10.names import AddressError, DomainError, ascii_text, parse_destination
    from mx10.relay.courier.connection import LinkOptions
    from mx10.relay.courier.wire import Timeouts

    hostname = args.hello
    if hostname is None:
        # Never asked of the DNS; a name without a dot means nothing elsewhere, the address of the connection does.
        hostname = socket.gethostname()
        hostname = hostname if "." in hostname and hostname.isascii() else ""
    else:
        try:
            found = parse_destination(hostname)
        except (AddressError, DomainError) as error:
            raise UsageError(f"send: --hello: {error}") from None
        hostname = ascii_text(found) if isinstance(found, bytes) else hostname
    for each in args.local_address:
        try:
            ip_address(each)
        except ValueError:
            raise UsageError(f"send: --local-address {each} is no IP address") from None
    timeouts = Timeouts()
    if args.timeout is not None:
        if not 0 < args.timeout <= 86400:
            raise UsageError("send: --timeout: write seconds, more than 0 and at most 86400")
        timeouts = timeouts.at_most(args.timeout)
    ca = args.ca if args.ca is not None or ca_file is None else str(ca_file)
    if ca is not None:
        _check_authorities(ca)
    return LinkOptions(
        hostname,
        timeouts,
        tuple(args.local_address),
        None if ca is None else Path(ca),
        _credentials(args),
        args.auth_mechanism,
        args.auth_without_tls,
        not args.no_chunking,
        not args.no_pipelining,
        dry_run=args.dry_run,
        idle=0.0,
    )


def _check_authorities(file: str) -> None:
    import ssl

    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        raise UsageError(f"send: --ca {file}: {error.strerror or error}; it has to hold certificates in PEM") from None


def _credentials(args: argparse.Namespace) -> "Credentials | None":
    from mx10.smtp.auth import Credentials

    if args.auth_user is None:
        if args.auth_password_file or args.auth_password_env or args.auth_mechanism or args.auth_without_tls:
            raise UsageError("send: --auth-user is missing")
        return None
    if args.auth_password_file is not None:
        try:
            with open(args.auth_password_file, "rb") as file:
                lines = file.read(MAX_PASSWORD).decode().splitlines()
        except OSError as error:
            raise UsageError(f"send: {args.auth_password_file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UsageError(f"send: {args.auth_password_file} is not UTF-8") from None
        password = lines[0] if lines else ""
        source = args.auth_password_file
    elif args.auth_password_env is not None:
        password = os.environ.get(args.auth_password_env, "")
        source = f"the environment variable {args.auth_password_env}"
    else:
        raise UsageError(
            "send: the password is missing: --auth-password-file FILE or --auth-password-env NAME; "
            "as an argument every user of this machine could read it"
        )
    if not password or not args.auth_user:
        raise UsageError(f"send: {source if args.auth_user else '--auth-user'} is empty")
    return Credentials(args.auth_user, password)


def _letter(args: argparse.Namespace, sender: str) -> "Letter":
    from mx10.relay.courier.send import Octets
    from mx10.relay.courier.values import Letter
    from mx10.relay.door.header import HeaderReader
    from mx10.smtp.outgoing import examine, mend_line_ends

    if args.priority is not None and not -9 <= args.priority <= 9:
        raise UsageError("send: --priority: from -9 to 9")
    if args.envid is not None and not (
        0 < len(args.envid) <= 100 and args.envid.isascii() and args.envid.isprintable()
    ):
        raise UsageError("send: --envid: at most 100 characters of ASCII (RFC 3461 section 4.4)")
    content = mend_line_ends(b"" if args.dry_run and args.file is None else _message(args.file))
    facts = examine(content)
    header = HeaderReader("")
    header.feed(content)
    header.finish()
    return Letter(
        "-",
        sender,
        Octets(content),
        "8BITMIME" if facts.eight_bit else "7BIT",
        facts.utf8_header,
        None if args.ret is None else args.ret.upper(),
        args.envid,
        args.requiretls,
        args.priority,
        tls_optional=header.tls_optional and not args.requiretls,
    )


def _message(file: str | None) -> bytes:
    if file is None and sys.stdin.isatty():
        raise UsageError("send: the message is missing: name a file, or write - to type it here and end it with Ctrl-D")
    if file in (None, "-"):
        return _read(sys.stdin.buffer, "standard input")
    try:
        with open(str(file), "rb") as opened:
            return _read(opened, str(file))
    except OSError as error:
        raise UsageError(f"send: {file}: {error.strerror}") from None


def _read(stream: BinaryIO, name: str) -> bytes:
    data = stream.read(MAX_MESSAGE + 1)
    if len(data) > MAX_MESSAGE:
        raise UsageError(f"send: {name} has more than {MAX_MESSAGE >> 20} MiB")
    if not data:
        raise UsageError(f"send: {name} is empty; --dry-run needs no message")
    return data


# ---------------------------------------------------------------- what is shown


class _Shown:
    """Steps in words, as they happen."""

    def __init__(self, context: Context, *, dry_run: bool) -> None:
        self._style = context.style
        self._dry_run = dry_run
        self._first = True
        self._parts_open = False

    def __call__(self, step: "Step") -> None:
        from mx10.cli.text import plain
        from mx10.relay.courier.values import StepKind

        style, text = self._style, plain(step.text)
        if step.kind is StepKind.ROUTE and not self._parts_open:
            # Whom the part is for comes first, then its hosts.
            print(("" if self._first else "\n") + style.paint(text, "bold"))
            self._first, self._parts_open = False, True
        elif step.kind is StepKind.ROUTE:
            self._parts_open = False
            print(f"  route: {text}")
        elif step.kind is StepKind.REPLY and step.reply is not None:
            look = "green" if step.reply.code < 400 else "yellow" if step.reply.code < 500 else "red"
            for line in step.reply.octets().decode("utf-8", "replace").splitlines():
                print(f"    {style.paint(f'← {plain(line)}', look)}")
        elif step.kind is StepKind.COMMAND:
            print(f"    → {text}")
        elif step.kind is StepKind.CONNECTING:
            print(f"  connecting to {text}")
        elif step.kind is StepKind.CONNECTED:
            print(f"  ready for mail, {text}")
        elif step.kind is StepKind.TLS:
            print(f"  TLS: {text}")
        elif step.kind is StepKind.POLICY:
            print(f"  {text}")
        elif step.kind is StepKind.FAILED:
            print(style.paint(f"  failed: {text}", "yellow"))
        elif step.kind in (StepKind.PLAIN, StepKind.PASSED_OVER):
            print(style.paint(f"  {text}", "yellow"))
        sys.stdout.flush()


def _in_words(fate: "Fate", context: Context, *, dry_run: bool) -> str:
    from mx10.cli.text import plain
    from mx10.relay.courier.values import End

    if fate.end is End.DELIVERED:
        word, look = ("would be taken" if dry_run else "delivered"), "green"
    else:
        word, look = ("not now", "yellow") if fate.end is End.LATER else ("refused", "red")
    reason = fate.reason
    if fate.end is End.DELIVERED and dry_run:
        reason = f"{fate.host} [{fate.address}] said “{fate.reply}”"
    line = f"{fate.recipient.address}: {context.style.paint(word, look, 'bold')} ({fate.enhanced}): {plain(reason)}"
    return line + (f"\n  {fate.advice}" if fate.advice and fate.end is not End.DELIVERED else "")


def _show_json(step: "Step") -> None:
    reply = step.reply
    _print_json(
        {
            "step": str(step.kind),
            "at": step.at,
            "text": step.text,
            "host": step.host or None,
            "address": step.address or None,
            "recipient": step.recipient or None,
            "reply": None if reply is None else _reply_to_json(reply),
        }
    )


def _reply_to_json(reply: Any) -> dict[str, Any]:
    return {"code": reply.code, "enhanced": reply.enhanced, "lines": list(reply.lines)}


def _fate_to_json(fate: "Fate") -> dict[str, Any]:
    return {
        "recipient": fate.recipient.address,
        "outcome": str(fate.end),
        "code": fate.enhanced,
        "reason": fate.reason,
        "advice": fate.advice or None,
        "stage": str(fate.stage),
        "trouble": None if fate.trouble is None else str(fate.trouble),
        "reply": None if fate.reply is None else _reply_to_json(fate.reply),
        "host": fate.host or None,
        "address": fate.address or None,
        "port": fate.port or None,
        "dsn": fate.dsn,
    }


def _print_json(shown: dict[str, Any]) -> None:
    import json

    print(json.dumps(shown, ensure_ascii=False))
    sys.stdout.flush()


def _exit_code(fate: "Fate") -> int:
    from mx10.relay.courier.values import End

    return {End.DELIVERED: OK, End.FAILED: ABSENT, End.LATER: NO_ANSWER}[fate.end]
