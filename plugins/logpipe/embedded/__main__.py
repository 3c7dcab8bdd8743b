"""``python -m logpipe.embedded``."""

import sys

from logpipe.embedded.cli import main

if __name__ == "__main__":
    sys.exit(main())
