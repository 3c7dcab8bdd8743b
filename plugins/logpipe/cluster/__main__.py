"""``python -m logpipe.cluster``."""

import sys

from logpipe.cluster.cli import main

if __name__ == "__main__":
    sys.exit(main())
