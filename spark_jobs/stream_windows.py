"""Counts the lines of a Kafka topic in windows of time. Run with --help for the options.

Exit status: 0 after a stop on request, 1 when the job can't go on, 2 for wrong options. The log is on stderr,
stdout holds nothing but tables.
"""

import sys

from windows.life import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
