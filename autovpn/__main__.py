"""`python -m autovpn` is the command `autovpn`."""

from __future__ import annotations

import sys

from autovpn.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
