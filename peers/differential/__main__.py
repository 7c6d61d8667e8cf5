"""One comparison by hand, with all that it finds."""

import argparse
import sys

from peers import MissingPeerError, PeerError
from peers.differential.run import compare


def main() -> int:
    """Compare; exit code 1 if something is unexplained."""
    parser = argparse.ArgumentParser(prog="python -m peers.differential", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5000, help="how many questions")
    parser.add_argument("--show", type=int, default=20, help="how many findings of each kind to show in full")
    parser.add_argument("--signed", action="store_true", help="sign the zones and set the DO bit")
    args = parser.parse_args()
    try:
        found = compare(args.seed, args.count, signed=args.signed)
    except (MissingPeerError, PeerError) as error:
        sys.exit(str(error))
    print(found.report(args.show))
    print("\n".join(f"{uses:6} {name}" for name, uses in sorted(found.uses.items())))
    return 1 if found.alone or found.unexplained or found.broken else 0


if __name__ == "__main__":
    sys.exit(main())
