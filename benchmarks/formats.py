"""How long a line takes to be read: the windows job's parser and the compiled formats, in turns.

``.venv/bin/python -m benchmarks.formats [rounds]`` prints nanoseconds a line: the least of
all rounds, and their median.
"""

import gzip
import statistics
import sys
import time
from functools import partial

import polars as pl

from benchmarks.july import BUNDLED_LOG
from logpipe.formats.columns import Columns
from logpipe.formats.presets import preset
from windows.parse import parse_frame

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
    print(f"{'lines':36}{'today: least':>14}{'median':>9}{'compiled: least':>17}{'median':>9}   ns a line")
    for name, (format_name, lines) in _logs().items():
        values = pl.Series("value", lines, dtype=pl.Binary)
        readers = (
            partial(parse_frame, values.to_frame()),
            partial(Columns(preset(format_name)).parse, values),
        )
        spent: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds):
            for times, read in zip(spent, readers, strict=True):
                begun = time.perf_counter()
                read()
                times.append((time.perf_counter() - begun) / len(lines) * 1e9)
        today = (
            f"{min(spent[0]):14.0f}{statistics.median(spent[0]):9.0f}"
            if name != "caddy"
            else f"{'(none)':>23}"
        )
        print(f"{name:36}{today}{min(spent[1]):17.0f}{statistics.median(spent[1]):9.0f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
