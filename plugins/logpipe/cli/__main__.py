"""``python -m logpipe.cli``: as ``logpipe``."""

from logpipe.cli.app import main

if __name__ == "__main__":
    main()
