"""Which format a log has, from its first lines; and what to say where a format does not fit."""

from collections.abc import Sequence
from dataclasses import dataclass

from logpipe.formats.compiler import compile_format
from logpipe.formats.fields import CORE, EMPTY, HEADER, FormatError
from logpipe.formats.presets import PRESETS, Format, preset
from logpipe.formats.w3c import compile_w3c

AUTO = "auto"
# What a format has to read of the first lines: real logs have lines of attackers and of broken clients.
FITTING_SHARE = 0.8
# Lines that are looked at; more tell no more.
MAX_LINES = 200
_EXAMPLE_CHARS = 200


class NoFitError(FormatError):
    """A format does not fit its log. Its message has one of the lines; ``without_line`` has none."""

    def __init__(self, said: str, example: str, others: str) -> None:
        super().__init__(f"{said}, for example not {example!r}. {others}")
        self.without_line = f"{said}. {others}"


def told(error: FormatError, addresses: str) -> str:
    """What may be kept of an error: no line of a log whose addresses are not (``shorten``, ``hash``)."""
    return error.without_line if isinstance(error, NoFitError) and addresses != "keep" else str(error)


# Formats of one server that no line tells from those that are looked for.
_SAME_LINES = ("apache_common", "apache_combined", "nginx")


@dataclass(frozen=True)
class Found:
    """What was taken for a log.

    Attributes:
        name: Of a preset, or a line ``#Fields: …``: what `compiler.compile_format` takes.
        format: The same, compiled.
        read: Lines that it reads, of those that were looked at.
        looked_at: Lines that are not empty and not about the log.
    """

    name: str
    format: Format
    read: int
    looked_at: int

    def __str__(self) -> str:
        lacking = [name for name in CORE if name not in self.format.fed]
        without = f"; it has no {', '.join(lacking)}" if lacking else ""
        return f"{self.name} (reads {self.read} of the first {self.looked_at} lines{without})"


def take(text: str, lines: Sequence[bytes]) -> Found:
    """The format to read a log by.

    Args:
        text: What `compile_format` takes; or ``auto``, to find it.
        lines: The log's first ones, without line ends.

    Raises:
        FormatError: The format is wrong, or does not fit.
    """
    return detect(lines) if text == AUTO else check(text, compile_format(text), lines)


def detect(lines: Sequence[bytes]) -> Found:
    """Find the format of a log's first lines.

    Raises:
        FormatError: None fits; it shows a line, and which formats read at least some.
    """
    lines = lines[:MAX_LINES]
    found = _candidates(lines)
    best = max(found, key=lambda each: (each[0].read, each[1]), default=None)
    if best is None or not _fits(best[0]):
        raise _no_fit("No known format fits the log", lines, [each for each, _ in found])
    return best[0]


def check(name: str, format_: Format, lines: Sequence[bytes]) -> Found:
    """Hold a format that was given against a log's first lines.

    Raises:
        FormatError: It does not fit; it shows a line, and the formats that would.
    """
    lines = lines[:MAX_LINES]
    found = _tried(name, format_, lines)[0]
    if found.looked_at and not _fits(found):
        others = [each for each, _ in sorted(_candidates(lines), key=lambda each: (-each[0].read, -each[1]))]
        said = f"Format {name} reads {found.read} of the first {found.looked_at} lines"
        raise _no_fit(said, _unread(format_, lines), others)
    return found


def _fits(found: Found) -> bool:
    return 0 < found.looked_at * FITTING_SHARE <= found.read


def _candidates(lines: Sequence[bytes]) -> list[tuple[Found, int]]:
    """Every format, with how many values it has from the lines."""
    given: dict[str, Format] = {name: preset(name) for name in PRESETS if name not in _SAME_LINES}
    for line in lines:
        if line.startswith(b"#Fields:"):
            text = line.decode("latin-1").strip()
            try:
                given[text] = compile_w3c(text)
            except FormatError:
                continue
    return [_tried(name, format_, lines) for name, format_ in given.items()]


def _tried(name: str, format_: Format, lines: Sequence[bytes]) -> tuple[Found, int]:
    parsed = [format_.parse_line(line) for line in lines]
    looked_at = [each for each in parsed if each.reason not in (EMPTY, HEADER)]
    read = [each for each in looked_at if each.reason is None]
    values = sum(value is not None for each in read for value in each)
    return Found(name, format_, len(read), len(looked_at)), values


def _unread(format_: Format, lines: Sequence[bytes]) -> list[bytes]:
    return [line for line in lines if format_.parse_line(line).reason not in (None, EMPTY, HEADER)]


def _no_fit(said: str, lines: Sequence[bytes], found: list[Found]) -> FormatError:
    example = next((line for line in lines if line.strip() and not line.startswith(b"#")), None)
    if example is None:
        return FormatError(f"{said}: there is no line yet to tell it from")
    shown = example[:_EXAMPLE_CHARS].decode("utf-8", "backslashreplace")
    fitting = [each for each in found if _fits(each)]
    others = (
        f"Formats that fit: {', '.join(each.name for each in fitting)}"
        if fitting
        else (
            f"No preset fits ({', '.join(PRESETS)}): give the server's own LogFormat, log_format, "
            "#Fields line or JSON map"
        )
    )
    return NoFitError(said, shown, others)
