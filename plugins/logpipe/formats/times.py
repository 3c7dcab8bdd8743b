"""A line's time: the ways in which servers write it."""

import calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass

from logpipe.formats.fields import FormatError, scaled

_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
# For each part of strftime: what it may look like, and the narrow form that native code reads alike.
_PARTS = {
    "Y": ("[0-9]{4}", "[12][0-9]{3}"),
    "m": ("[0-9]{2}", "[01][0-9]"),
    "d": ("[0-9]{2}", "[0-3][0-9]"),
    "b": ("[A-Z][a-z]{2}", "[A-Z][a-z]{2}"),
    "H": ("[0-9]{2}", "[0-2][0-9]"),
    "M": ("[0-9]{2}", "[0-5][0-9]"),
    "S": ("[0-9]{2}", "[0-5][0-9]"),
    "z": ("[+-][0-9]{4}", "[+-][01][0-9][0-5][0-9]"),
}
_SHORT = {"%T": "%H:%M:%S", "%F": "%Y-%m-%d", "%R": "%H:%M", "%h": "%b"}
ISO_SHAPE = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
)
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:Z|([+-])([0-9]{2}):?([0-9]{2}))"
)
CLF, ISO = "%d/%b/%Y:%H:%M:%S %z", "iso"
# Numbers since 1970, by how many digits behind the point a millisecond has.
EPOCHS = {"s": 3, "ms": 0, "us": -3, "ns": -6}


@dataclass(frozen=True)
class Clock:
    """One way to write a time, or the part of it that one field has.

    Attributes:
        form: In strftime's words; or ``iso``; or ``s``, ``ms``, ``us`` since 1970; or ``fraction``.
    """

    form: str

    def __post_init__(self) -> None:
        if self.is_strftime:
            object.__setattr__(self, "form", _expanded(self.form))

    @property
    def is_strftime(self) -> bool:
        """Whether it is in strftime's words."""
        return "%" in self.form

    @property
    def is_whole(self) -> bool:
        """Whether it takes no other field."""
        return self.form != "fraction" and (
            not self.is_strftime or all(f"%{part}" in self.form for part in "YdHMS")
        )

    @property
    def sample(self) -> str:
        """A time as it looks, to see what stands in it."""
        if self.is_strftime:
            made = {"Y": "2000", "b": "Jan", "z": "+0000"}
            return re.sub("%(.)", lambda match: made.get(match[1], "00"), self.form)
        return "2000-01-01T00:00:00+00:00" if self.form == ISO else "0"

    @property
    def regular(self) -> str:
        """An expression for native code: what matches, both read alike."""
        if self.is_strftime:
            return "".join(
                _PARTS[piece[1]][1] if piece[0] == "%" else re.escape(piece) for piece in _pieces(self.form)
            )
        if self.form == ISO:
            return (
                "[12][0-9]{3}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
                r"(?:\.[0-9]{1,9})?(?:Z|[+-][01][0-9]:[0-5][0-9])"
            )
        return (
            "[0-9]{3,6}"
            if self.form == "fraction"
            else r"[0-9]{1,16}"
            if self.form != "s"
            else r"[0-9]{1,12}(?:\.[0-9]{1,9})?"
        )


def _pieces(form: str) -> list[str]:
    return re.findall("%.|[^%]+", form)


def _expanded(form: str) -> str:
    for short, long in _SHORT.items():
        form = form.replace(short, long)
    unknown = [piece for piece in _pieces(form) if piece[0] == "%" and piece[1:] not in _PARTS]
    if unknown or form.endswith("%"):
        known = ", ".join(f"%{part}" for part in (*_PARTS, *(short[1] for short in _SHORT)))
        raise FormatError(
            f"Time {form!r} has {(unknown or ['%'])[0]}, which is not read: known are {known}, and %s alone"
        )
    return form


class Clocks:
    """The fields of a line that make up its time, in their order."""

    def __init__(self, clocks: Iterable[Clock]) -> None:
        self.clocks = tuple(clocks)
        whole = [clock for clock in self.clocks if clock.form != "fraction"]
        if not whole:
            raise FormatError("The format has no time: without one a line belongs to no window")
        self.kind = whole[0].form
        self.strftime = " ".join(clock.form for clock in whole) if whole[0].is_strftime else None
        self._pattern = re.compile("")
        if self.strftime is not None:
            parts = re.findall("%(.)", self.strftime)
            missing = [f"%{part}" for part in "YdHMS" if part not in parts]
            missing += [] if {"m", "b"} & {*parts} else ["%m"]
            if missing or len({*parts}) < len(parts):
                raise FormatError(
                    f"The time {self.strftime!r} is no whole one: "
                    + (f"it lacks {', '.join(missing)}" if missing else "a part stands in it twice")
                )
            self._pattern = re.compile(
                "".join(
                    f"(?P<{piece[1]}>{_PARTS[piece[1]][0]})" if piece[0] == "%" else re.escape(piece)
                    for piece in _pieces(self.strftime)
                )
            )

    def time_ms(self, texts: list[str]) -> int | None:
        """Milliseconds since 1970, or None when the texts are no such time; without a zone it is UTC."""
        whole = [text for clock, text in zip(self.clocks, texts, strict=True) if clock.form != "fraction"]
        fractions = [text for clock, text in zip(self.clocks, texts, strict=True) if clock.form == "fraction"]
        time_ms = self._whole(whole)
        for text in fractions:
            if time_ms is None or not re.fullmatch("[0-9]{3,6}", text):
                return None
            time_ms += int(text[:3])
        return time_ms

    def _whole(self, texts: list[str]) -> int | None:
        if self.strftime is None:
            return iso_ms(texts[0]) if self.kind == ISO else epoch_ms(texts[0], self.kind)
        match = self._pattern.fullmatch(" ".join(texts))
        if match is None:
            return None
        at = match.groupdict()
        month = int(at["m"]) if "m" in at else _MONTHS.get(at["b"], 0)
        zone = at.get("z", "+0000")
        date = (int(at["Y"]), month, int(at["d"]), int(at["H"]), int(at["M"]), int(at["S"]))
        return _since_1970_ms(date, zone[0], int(zone[1:3]), int(zone[3:]))


def _since_1970_ms(
    at: tuple[int, int, int, int, int, int], sign: str, hours: int, minutes: int
) -> int | None:
    year, month, day, hour, minute, second = at
    if not (year and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        return None
    if hour > 23 or minute > 59 or second > 60 or hours > 23 or minutes > 59:  # 60: a leap second
        return None
    zone_s = (hours * 3600 + minutes * 60) * (-1 if sign == "-" else 1)
    return (calendar.timegm(at) - zone_s) * 1000


def iso_ms(text: str) -> int | None:
    """Milliseconds since 1970 of ``2018-07-02T22:23:00.186641Z``; None when it is no such time."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[group]) for group in range(1, 7))
    at = (year, month, day, hour, minute, second)
    whole_ms = _since_1970_ms(at, match[8] or "+", int(match[9] or 0), int(match[10] or 0))
    return None if whole_ms is None else whole_ms + int((match[7] or "").ljust(3, "0")[:3])


def epoch_ms(text: str, unit: str) -> int | None:
    """Milliseconds of a number of seconds (``s``), ``ms`` or ``us`` since 1970."""
    if unit == "s":
        return scaled(text, EPOCHS[unit])
    return int(text) // 10 ** -EPOCHS[unit] if re.fullmatch("[0-9]{1,16}", text) else None
