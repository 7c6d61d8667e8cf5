"""``mx10 tsig``: a new TSIG key, in the form that BIND's tools and ours read."""

import argparse
import sys

from mx10.cli.context import Context

SUMMARY = "make a TSIG key (RFC 8945) for transfers, NOTIFY and updates, and print it"
ALGORITHMS = ("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the key; both sides know it by it, as in transfer.example")
    parser.add_argument("--algorithm", default="hmac-sha256", choices=ALGORITHMS, help="default: %(default)s")
    parser.epilog = (
        "Append it to the file that nameserver.tsig_keys names, and give it to the other side: nsupdate -k, dig -k and"
        " named.conf read this form. Exit codes: 0 printed, 2 the name is none."
    )


def run(args: argparse.Namespace, context: Context) -> int:
    import hashlib
    import secrets

    from mx10.dns.tsig import TsigKey
    from mx10.dns.wirename import ROOT, NameSyntaxError, fold, from_text

    try:
        name = fold(from_text(args.name))
        if name == ROOT:
            raise NameSyntaxError("the root is no name for a key")
    except NameSyntaxError as error:
        print(f"mx10 tsig: {args.name!r} is no name of a key: {error}", file=sys.stderr)
        return 2
    # As long as what the algorithm makes of it: a longer one gains nothing (RFC 2104 section 3).
    size = hashlib.new(args.algorithm.removeprefix("hmac-")).digest_size
    print(TsigKey(name, args.algorithm, secrets.token_bytes(size)).to_text(), end="")
    return 0
