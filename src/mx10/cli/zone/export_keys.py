"""``mx10 zone export-keys``: a zone's keys as BIND's key files."""

import argparse

from mx10.cli import OK
from mx10.cli.context import Context
from mx10.cli.zone.opening import EXIT_CODES, NotDoneError, ended
from mx10.cli.zone.signing import keeping

SUMMARY = "write a zone's keys, secrets included, as BIND's key files"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("zone", metavar="ZONE")
    parser.add_argument("folder", metavar="DIR", help="made if it is not there; files that are there are not replaced")
    parser.epilog = EXIT_CODES


def run(args: argparse.Namespace, context: Context) -> int:
    try:
        with keeping(context) as keeper:
            from pathlib import Path

            from mx10.zones.dnssec.keyfiles import file_stem, private_text, public_text
            from mx10.zones.typed import zone_name

            apex = zone_name(args.zone)
            folder = Path(args.folder)
            status = keeper.status(apex)
            for state in status.kept.zone.keys:
                key = keeper.secret(apex, status.kept.rows[state.id])
                active = state.at("signing") if state.signs_zone else state.at("published")
                made = state.at("made") or status.now
                stem = folder / file_stem(apex, key)
                texts = (
                    (f"{stem}.private", private_text(key, made=made, published=state.at("published"), active=active)),
                    (f"{stem}.key", public_text(apex, key, status.policy.dnskey_ttl)),
                )
                try:
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    for path, text in texts:
                        _write(path, text)
                except (OSError, ValueError) as error:
                    name = getattr(error, "filename", None) or args.folder
                    raise NotDoneError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
                print(f"{stem}.private")
    except NotDoneError as error:
        return ended(error)
    return OK


def _write(path: str, text: str) -> None:
    """A new file that nobody else may read."""
    import os
    from pathlib import Path

    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(number, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        Path(path).unlink()
        raise
