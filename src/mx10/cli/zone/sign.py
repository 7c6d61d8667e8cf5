"""``mx10 zone sign``: sign zones, or change how they are signed."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from mx10.cli import ABSENT, OK, UsageError
from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError, author, ended
from mx10.cli.zone.signing import add_message, keeping, tell_steps

if TYPE_CHECKING:
    from mx10.zones.dnssec.keeping import Keeper

SUMMARY = "sign zones with DNSSEC, or change how they are signed"

_ALGORITHMS: Final = {"rsasha256": 8, "ecdsap256sha256": 13, "ed25519": 15, "8": 8, "13": 13, "15": 15}
_DAYS: Final = ("zsk_days", "ksk_days", "signature_days", "refresh_days")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE", nargs="*")
    parser.add_argument("--all", action="store_true", help="all zones of the store that are not signed yet")
    parser.add_argument("--algorithm", type=_algorithm, help="13 (ECDSAP256SHA256), 15 (ED25519) or 8 (RSASHA256)")
    parser.add_argument("--keys", choices=("csk", "ksk+zsk"), help="one key for all, or one for the keys and one else")
    parser.add_argument("--denial", choices=("nsec", "nsec3", "nsec3-opt-out"), help="how absence is proved")
    parser.add_argument("--rsa-bits", type=_number, metavar="N", help="length of new RSA keys")
    for name in _DAYS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=_number, metavar="N", help="see docs/configuration.md")
    add_message(parser)
    parser.description = (
        "Sign zones, or change how they are signed. What is not said is as the configuration has it ([dnssec]). Another"
        " algorithm or other keys are rolled over to step by step, without an outage."
    )


def _algorithm(text: str) -> int:
    if text.lower() not in _ALGORITHMS:
        raise argparse.ArgumentTypeError(f"{text!r} is no algorithm we sign with; take 13, 15 or 8")
    return _ALGORITHMS[text.lower()]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text)


def run(args: argparse.Namespace, context: Context) -> int:
    if bool(args.zone) == args.all:
        raise UsageError("zone sign: name zones, or say --all")
    wished: dict[str, Any] = {
        name: value
        for name in ("algorithm", "keys", "denial", "rsa_bits", *_DAYS)
        if (value := getattr(args, name)) is not None
    }
    code = OK
    try:
        with keeping(context) as keeper:
            from mx10.cli.progress import Progress
            from mx10.names import display
            from mx10.zones.ledger import LedgerError

            who = author(args)
            progress = Progress("zones")

            def refused(_apex: bytes, error: LedgerError) -> None:
                # The other zones are signed all the same.
                nonlocal code
                progress.clear()
                print(f"mx10 zone: {error}", file=sys.stderr)
                code = ABSENT

            def signed(apex: bytes) -> None:
                progress.step()
                print(f"{display(apex)} is signed")

            if args.all:
                from mx10.zones.dnssec.bulk import sign_many

                sign_many(keeper, _unsigned(keeper), who, wished, progress=signed, refused=refused)
            for apex in _named(args.zone):
                try:
                    tell_steps(apex, keeper.sign(apex, who, wished))
                except LedgerError as error:
                    refused(apex, error)
            progress.clear()
    except NotDoneError as error:
        return ended(error)
    return code


def _named(texts: list[str]) -> Iterator[bytes]:
    from mx10.zones.typed import zone_name

    yield from dict.fromkeys([zone_name(text) for text in texts])


def _unsigned(keeper: "Keeper") -> Iterator[bytes]:
    for info in keeper.ledger.infos():
        if info.kind == "primary" and not info.signing:
            yield info.apex
