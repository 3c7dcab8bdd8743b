"""How much CPU a line takes to be read by compiled formats.

``.venv/bin/python -m benchmarks.formats [rounds]`` prints nanoseconds a line: the least of all
rounds, and their median.
"""

import gzip
import statistics
import sys
import time

import polars as pl

from benchmarks.july import BUNDLED_LOG
from logpipe.formats.columns import Columns
from logpipe.formats.presets import preset

LINES = 20_000


def _logs() -> dict[str, tuple[str, list[bytes]]]:
    common = gzip.decompress(BUNDLED_LOG.read_bytes()).splitlines()[:LINES]
    headers = (
        b' "http://r.example/a?b=c" "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"'
    )
    combined = [line + headers for line in common]
    escaped = [line + headers[:-1] + rb' \x22a\x22"' for line in common]
    request = (
        b'{"level":"info","ts":1646861401.5241024,"logger":"http.log.access","msg":"handled request",'
        b'"request":{"remote_ip":"127.0.0.1","proto":"HTTP/2.0","method":"GET","host":"a.example",'
        b'"uri":"/path/%d","headers":{"User-Agent":["Mozilla/5.0 (X11; Linux x86_64)"],"Accept":["*/*"]},'
        b'"tls":{"version":772}},"duration":0.000929675,"size":10900,"status":200,'
        b'"resp_headers":{"Content-Type":["text/html"]}}'
    )
    return {
        "common": ("common", common),
        "combined, common lines": ("combined", common),
        "combined": ("combined", combined),
        "nginx, a line in ten with escapes": (
            "nginx",
            combined[: LINES * 9 // 10] + escaped[LINES * 9 // 10 :],
        ),
        "caddy": ("caddy", [request % number for number in range(LINES)]),
    }


def main(rounds: int) -> None:
    """Print the table."""
    print(f"{'lines':36}{'least':>9}{'median':>9}   ns a line")
    for name, (format_name, lines) in _logs().items():
        values, columns = pl.Series("value", lines, dtype=pl.Binary), Columns(preset(format_name))
        times = []
        for _ in range(rounds):
            begun = time.process_time()
            columns.parse(values)
            times.append((time.process_time() - begun) / len(lines) * 1e9)
        print(f"{name:36}{min(times):9.0f}{statistics.median(times):9.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
