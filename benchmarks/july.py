"""A log with the size and rhythm of July 1995, the same bytes on every run.

How many requests fall into each second is real (`data/NASA_Jul95_requests_per_second.txt.gz`); what they ask
is drawn, by a generator whose stream never changes, from the real lines of 1 August 1995.
"""

import gzip
import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
COUNTS = HERE / "data" / "NASA_Jul95_requests_per_second.txt.gz"
BUNDLED_LOG = HERE.parent / "plugins/logpipe/hosts/machine/ftp/files/NASA_access_log_Aug95.first20000.gz"
START = datetime(1995, 7, 1, 0, 0, 1)
LINES = 1_891_713


def vocabulary(log: Path = BUNDLED_LOG) -> list[tuple[bytes, bytes]]:
    """What stands before and after the time in each real line."""
    with gzip.open(log) as lines:
        cut = [line.rstrip(b"\n") for line in lines]
    return [
        (line.partition(b" [")[0] + b" [", b" -0400]" + line.partition(b"]")[2])
        for line in cut
        if b" [" in line
    ]


def lines(log: Path = BUNDLED_LOG, times_before: int = 0) -> Iterator[bytes]:
    """July's lines, in order, without line ends; as the following months when there were some before."""
    start = START + timedelta(days=31 * times_before)
    with gzip.open(COUNTS) as counts:
        requests = np.array([int(count) for count in counts], dtype=np.int64)
    words = vocabulary(log)
    chosen = np.random.RandomState(1995).randint(0, len(words), int(requests.sum()))
    at = 0
    for second in np.flatnonzero(requests):
        time = (start + timedelta(seconds=int(second))).strftime("%d/%b/%Y:%H:%M:%S").encode()
        for _ in range(requests[second]):
            before, after = words[chosen[at]]
            at += 1
            yield before + time + after


if __name__ == "__main__":
    digest, count = hashlib.sha256(), 0
    for line in lines():
        digest.update(line + b"\n")
        count += 1
    print(f"{count} lines, sha256 {digest.hexdigest()}")
