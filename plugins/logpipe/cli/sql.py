"""Statements of SQL as a person types them."""

import sys
from collections.abc import Iterator


def statements() -> Iterator[str]:
    """Each statement of standard input, which ends with a semicolon or with the input."""
    is_typed = sys.stdin.isatty()
    if is_typed:
        import readline  # noqa: F401 - gives input() its history

        print("Views: windows, lines. A statement ends with ;, the session with Ctrl-D.", file=sys.stderr)
    held = ""
    while True:
        try:
            held += (input("… " if held else "logpipe> ") if is_typed else input()) + "\n"
        except EOFError:
            break
        if held.rstrip().endswith(";"):
            yield held
            held = ""
    if held.strip():
        yield held
