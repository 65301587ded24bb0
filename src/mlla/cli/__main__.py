"""`python -m mlla.cli` is `mlla`; torchrun starts commands by this name."""

import sys

from mlla.cli import main

if __name__ == "__main__":
    sys.exit(main())
