"""``mx10 zone import-keys``: take over keys from BIND, or another signer that writes its files."""

import argparse
from typing import TYPE_CHECKING, Any

from mx10.cli import OK, UsageError
from mx10.cli.context import Context
from mx10.cli.zone.opening import NotDoneError, author, ended
from mx10.cli.zone.signing import add_message, keeping, tell_steps

if TYPE_CHECKING:
    from mx10.zones.dnssec.keys import SigningKey

SUMMARY = "sign a zone with keys it has elsewhere already, from BIND's key files"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("file", metavar="FILE", nargs="+", help="Kexample.org.+013+12345.private, its .key beside it")
    parser.add_argument(
        "--role",
        choices=("csk", "ksk", "zsk"),
        help="what the keys do; otherwise told from their flags: 257 alone a csk, 257 and 256 a ksk and a zsk",
    )
    add_message(parser)
    parser.description = (
        "Sign a zone with keys it has elsewhere already. The DS records of the parent stay good. The zone's policy"
        " takes on the keys' algorithm, and whether there is one key or two; `mx10 zone sign` changes it, step by step."
    )


def run(args: argparse.Namespace, context: Context) -> int:
    try:
        with keeping(context) as keeper:
            from pathlib import Path

            from mx10.zones.dnssec.keyfiles import read_pair
            from mx10.zones.dnssec.keys import BadKeyError
            from mx10.zones.typed import zone_name

            apex = zone_name(args.zone)
            try:
                keys = [read_pair(Path(file), apex, args.role) for file in dict.fromkeys(args.file)]
            except BadKeyError as error:
                raise NotDoneError(str(error)) from None
            keys, policy = _arranged(keys)
            tell_steps(apex, keeper.sign(apex, author(args), policy, keys))
    except NotDoneError as error:
        return ended(error)
    return OK


def _arranged(keys: "list[SigningKey]") -> "tuple[list[SigningKey], dict[str, Any]]":
    """The keys in their roles, and the policy they fit.

    Raises:
        UsageError: they fit none.
    """
    from dataclasses import replace

    algorithms = {key.algorithm for key in keys}
    if len(algorithms) > 1:
        raise UsageError(
            f"zone import-keys: keys of the algorithms {' and '.join(map(str, sorted(algorithms)))}; take over those of"
            " one, and change the algorithm afterwards"
        )
    roles = {key.role for key in keys}
    if roles == {"ksk"}:
        keys = [replace(key, role="csk") for key in keys]
        roles = {"csk"}
    if roles not in ({"csk"}, {"ksk", "zsk"}):
        raise UsageError(
            f"zone import-keys: only keys that are {' or '.join(sorted(roles))}; a zone needs one that signs the keys"
            " and one that signs the rest, or one that signs all (--role csk)"
        )
    return keys, {"algorithm": algorithms.pop(), "keys": "csk" if "csk" in roles else "ksk+zsk"}
