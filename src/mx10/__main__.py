"""``python -m mx10``."""

from mx10.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
