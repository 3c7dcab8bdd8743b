"""A column of lines to columns of fields: the regular in native code, the rest by the definition."""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from itertools import pairwise

import polars as pl

from logpipe.formats import times
from logpipe.formats.compiler import compile_format
from logpipe.formats.escapes import PLUS, Escape
from logpipe.formats.fields import TEXTS, Parsed, line_text
from logpipe.formats.json_lines import (
    INTEGER,
    LATENCY_FACTORS,
    MAX_NUMBER,
    NAMES,
    NUMBER,
    TEXT,
    TIME_FACTORS,
    TLS_NUMBERS,
    Json,
)
from logpipe.formats.pattern import LATENCY_DIGITS, Field, Pattern

SCHEMA = {
    name: pl.Int64 if name in ("time_ms", "sent_bytes", "latency_us") else pl.String
    for name in Parsed._fields
}
_HTTP = r"(?: HTTP/[0-9.]+)?"
_METHOD = "[A-Z]{1,20}"
_ZONE_CHARS = len("+0000")
_NUMBERS = {
    "status": "[0-9]{3}",
    "sent_bytes": "[0-9]{1,18}|-",
    "latency": r"[0-9]{1,9}(?:\.[0-9]{1,9})?|-1|-",
}


class Columns:
    """A format, compiled for columns of lines."""

    def __init__(self, format_: Pattern | Json) -> None:
        self.format = format_
        self.schema = {name: SCHEMA[name] for name in (*format_.columns, "reason")}
        self._native = _NativeJson(format_) if isinstance(format_, Json) else _NativePattern(format_)

    def parse(self, lines: pl.Series) -> pl.DataFrame:
        """Read lines.

        Args:
            lines: Bytes without line ends; none is null.

        Returns:
            A row a line, in their order, with the format's columns and ``reason``.
        """
        parsed = self._native.parse(line_texts(lines))
        irregular = parsed["time_ms"].is_null()
        if irregular.any():
            parsed = self._with_the_rest(lines, parsed, irregular.arg_true())
        return parsed

    def _with_the_rest(self, lines: pl.Series, parsed: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
        parse_line = self.format.parse_line
        said = [parse_line(line) for line in lines.gather(rows)]
        rest = pl.DataFrame(said, schema=SCHEMA, orient="row").select(*self.schema)
        kept = parsed.with_row_index("row").filter(pl.col("time_ms").is_not_null())
        return pl.concat([kept, rest.insert_column(0, rows.alias("row"))]).sort("row").drop("row")


@lru_cache(64)
def columns_of(text: str) -> Columns:
    """What `compiler.compile_format` makes of a text, for columns of lines; kept for the next call."""
    return Columns(compile_format(text))


def read_by(texts: Collection[str], lines: pl.Series) -> pl.DataFrame:
    """Read lines of which is known only that each is of one of some formats: by the first that reads it.

    Formats with more columns come before others. What none reads has the last one's reason.

    Args:
        texts: One or more formats, see `columns_of`.
        lines: As of `Columns.parse`.

    Returns:
        A row a line, in their order, with the columns that one of the formats has, and ``format``: the text
        that a line was read by, null of a malformed one.
    """
    first, *others = sorted(texts, key=lambda text: (-len(columns_of(text).schema), text))
    parsed = columns_of(first).parse(lines)
    parsed = parsed.with_columns(format=pl.when(pl.col("reason").is_null()).then(pl.lit(first)))
    if not others:
        return parsed
    parsed = parsed.with_row_index("row")
    malformed = parsed["reason"].is_not_null()
    rest = read_by(others, lines.filter(malformed)).insert_column(0, parsed["row"].filter(malformed))
    return pl.concat([parsed.filter(~malformed), rest], how="diagonal").sort("row").drop("row")


def line_texts(lines: pl.Series) -> pl.Series:
    """Decode a column of lines as `line_text` does; null stays null."""
    try:
        return lines.cast(pl.String)
    except pl.exceptions.ComputeError:  # some line is not UTF-8
        return pl.Series([None if line is None else line_text(line) for line in lines], dtype=pl.String)


class _NativePattern:
    def __init__(self, pattern: Pattern) -> None:
        self.pattern = pattern
        self.schema = {name: SCHEMA[name] for name in (*pattern.columns, "reason")}
        self.expression = _expression(pattern)
        if self.expression is not None:
            self.select = list(self._selected(pattern))

    def parse(self, texts: pl.Series) -> pl.DataFrame:
        if self.expression is None:
            return pl.DataFrame(schema=self.schema).clear(len(texts))
        groups = texts.str.extract_groups(self.expression).struct.unnest()
        for name, part in self.pattern.fields.items():
            groups = self._decoded(groups, name, self.pattern.escape_of(part))
        parsed = groups.select(self.select)
        if self.pattern.comments:
            about = texts.str.starts_with("#")
            if about.any():
                parsed = parsed.with_columns(time_ms=pl.when(~about).then("time_ms"))
        return parsed

    def _decoded(self, groups: pl.DataFrame, name: str, escape: Escape) -> pl.DataFrame:
        if name == "request":
            name = "target"
        if (
            not escape.mark
            or name not in ("host", "target", "query", *TEXTS)
            or (name == "target" and self.pattern.unescaped)
        ):
            return groups
        if escape is PLUS:
            return groups.with_columns(pl.col(name).str.replace_all("+", " ", literal=True))
        escaped = groups[name].filter(groups[name].str.contains(escape.mark, literal=True)).unique()
        if escaped.is_empty():
            return groups
        plain = [escape.decode(text) for text in escaped]
        return groups.with_columns(pl.col(name).replace(escaped, pl.Series(plain, dtype=pl.String)))

    def _selected(self, pattern: Pattern) -> Iterable[pl.Expr]:
        fields, roles = pattern.fields, {part.role for part in pattern.fields.values()}
        nothing = pl.lit(None)
        for name in pattern.columns:
            if name == "time_ms":
                made = _time_ms(pattern)
            elif name == "latency_us":
                each = [
                    _scaled(pl.col(key), LATENCY_DIGITS[part.unit])
                    for key, part in fields.items()
                    if part.role == "latency"
                ]
                made = sum(each[1:], each[0])
            elif name == "sent_bytes" and name in roles:
                made = (
                    pl.when(pl.col(name) == "-").then(0).otherwise(pl.col(name).cast(pl.Int64, strict=False))
                )
            elif name == "target" and "query" in roles:
                made = _with_query(pl.col("target"), pl.col("query"))
            elif name in roles or (name in ("method", "target") and "request" in roles):
                made = pl.col(name)
                if name in TEXTS:
                    made = pl.when(~made.is_in(["", "-"])).then(made)
            else:
                made = nothing
            yield made.cast(SCHEMA[name]).alias(name)
        yield nothing.cast(pl.String).alias("reason")


def _with_query(target: pl.Expr, query: pl.Expr) -> pl.Expr:
    with_mark = pl.when(query.str.starts_with("?")).then(query).otherwise("?" + query)
    return pl.when(query.is_in(["", "-"])).then(target).otherwise(target + with_mark)


def _expression(pattern: Pattern) -> str | None:
    """What a regular line matches: each part is so narrow that the definition reads whatever matches alike.

    None where a number, a time or a request ends at a character that could as well be its own.
    """
    pieces = []
    for index, part in enumerate(pattern.parts):
        if index == pattern.optional_from:
            pieces.append("(?:")
        if isinstance(part, str):
            pieces.append(re.escape(part).replace(r"\ ", " "))
            continue
        stop = pattern.literal_behind(index)[:1]
        if stop == "\\" or _is_ambiguous(part, stop):
            return None
        pieces.append(_group(pattern, part, stop))
    closing = ")?" if pattern.optional_from is not None else ""
    return f"(?s)^{''.join(pieces)}{closing}\\r?$"


def _is_ambiguous(part: Field, stop: str) -> bool:
    if part.clock is not None:
        return stop.isalnum() or (stop != "" and stop in "+-." and part.clock.form != times.ISO)
    if part.role in _NUMBERS:
        return stop != "" and stop in "0123456789.-"
    if part.role == "method":
        return stop.isalpha()
    return part.role == "request" and (stop.isalnum() or stop in (" ", "/", "."))


def _group(pattern: Pattern, part: Field, stop: str) -> str:
    name = pattern.group_of(part)
    if not name and part.shape:
        return f"(?:{part.shape})"
    end = re.escape(stop) if stop else r"\r"
    guards = pattern.escape_of(part).guards
    char = rf"(?:[^{end}\\]|\\[^\r])" if guards else rf"[^{end}]"
    if part.role == "request" and name:
        target = rf"(?:[^ {end}\\]|\\[^ \r])" if guards else rf"[^ {end}]"
        return f"(?P<method>{_METHOD}) (?P<target>{target}+){_HTTP}"
    if not name:
        return f"(?:{part.clock.regular})" if part.clock else f"{char}*"
    if part.clock is not None:
        inner = part.clock.regular
    elif part.role in _NUMBERS:
        inner = _NUMBERS[part.role]
    elif part.role == "method":
        inner = _METHOD
    else:
        inner = f"{char}+" if part.role in ("host", "target") else f"{char}*"
    return f"(?P<{name}>{inner})"


def _time_ms(pattern: Pattern) -> pl.Expr:
    clocks = pattern.clocks
    names = [name for name, part in pattern.fields.items() if part.role == "time"]
    whole = [
        pl.col(name) for name, clock in zip(names, clocks.clocks, strict=True) if clock.form != "fraction"
    ]
    if clocks.strftime is not None:
        text = whole[0] if len(whole) == 1 else pl.concat_str(whole, separator=" ")
        made = _strftime_ms(text, clocks.strftime)
    elif clocks.kind == times.ISO:
        made = _iso_ms(whole[0])
    elif clocks.kind == "s":
        made = _scaled(whole[0], 3)
    else:
        made = whole[0].cast(pl.Int64, strict=False) // 10 ** -times.EPOCHS[clocks.kind]
    for name, clock in zip(names, clocks.clocks, strict=True):
        if clock.form == "fraction":
            made = made + pl.col(name).str.slice(0, 3).cast(pl.Int64, strict=False)
    return made


def _strftime_ms(text: pl.Expr, form: str) -> pl.Expr:
    if not form.endswith("%z"):
        return text.str.to_datetime(form, strict=False, time_unit="ms").cast(pl.Int64)
    # A zone for itself is a third of the work of `to_datetime` with one.
    bare = form.removesuffix("%z").rstrip(" ")
    clock = text.str.head(len(bare) - len(form) + len("%z") - _ZONE_CHARS)
    made = clock.str.to_datetime(bare, strict=False, time_unit="ms", cache=False).cast(pl.Int64)
    zone = text.str.tail(_ZONE_CHARS).cast(pl.Int32, strict=False)  # ±HHMM
    zone_min = zone - 40 * (zone / 100).cast(pl.Int32)
    return made - zone_min.cast(pl.Int64) * 60_000


def _iso_ms(text: pl.Expr) -> pl.Expr:
    parts = text.str.extract_groups(r"^([^T]{10}T.{8})(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):?([0-9]{2}))$")
    part = parts.struct.field
    whole = part("1").str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="ms").cast(pl.Int64)
    fraction = part("2").fill_null("").str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64)
    zone = part("4").cast(pl.Int64, strict=False) * 60 + part("5").cast(pl.Int64, strict=False)
    sign = pl.when(part("3") == "-").then(-1).otherwise(1)
    return whole + fraction - (sign * zone * 60_000).fill_null(0)


def _scaled(text: pl.Expr, digits: int) -> pl.Expr:
    parts = text.str.split_exact(".", 1)
    whole = parts.struct.field("field_0").cast(pl.Int64, strict=False)
    whole = pl.when(whole >= 0).then(whole)
    if not digits:
        return whole
    fraction = parts.struct.field("field_1").fill_null("").str.pad_end(digits, "0").str.slice(0, digits)
    return whole * 10**digits + fraction.cast(pl.Int64, strict=False)


class _NativeJson:
    """JSON by polars' reader, for lines whose fields have the types that are expected."""

    def __init__(self, format_: Json) -> None:
        self.format = format_
        self.schema = {name: SCHEMA[name] for name in (*format_.columns, "reason")}
        self.tree: dict[str, object] = {}
        for name, paths in format_.paths.items():
            for path in paths:
                _grow(self.tree, path, NAMES[name][0])
        self.type = _type(self.tree)
        self.odd = "|".join([r"\\u[dD][89a-fA-F]", r"\\u0000", *sorted(_odd(self.tree))])
        self.select = list(self._selected())

    def parse(self, texts: pl.Series) -> pl.DataFrame:
        regular = texts.str.starts_with("{") & ~texts.str.contains(self.odd)
        candidates = texts.zip_with(regular, pl.Series([None], dtype=pl.String).new_from_index(0, len(texts)))
        return pl.DataFrame({"it": self._read(candidates)}).select(self.select).select(*self.schema)

    def _read(self, texts: pl.Series) -> pl.Series:
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
        for _ in range(2):
            try:
                return texts.str.json_decode(self.type)
            except pl.exceptions.ComputeError:  # some line is no JSON: native code does not say which
                texts = texts.zip_with(texts.str.json_path_match("$").is_not_null(), nothing)
        return nothing.str.json_decode(self.type)

    def _selected(self) -> Iterable[pl.Expr]:
        names = {name: self._at(name) for name in self.format.paths}
        has = names.keys()
        sound = pl.lit(True)
        for name in has & {"host", "target"}:
            sound = sound & (names[name] != "")
        if "status" in has:
            sound = sound & names["status"].is_not_null()
        if "method" in has:
            sound = sound & names["method"].str.contains("^[A-Z]{1,20}$")
        if "request" in has:
            parts = names["request"].str.extract_groups(rf"(?s)^({_METHOD}) ([^ ]+){_HTTP}$")
            names["method"], names["target"] = parts.struct.field("1"), parts.struct.field("2")
            sound = sound & names["method"].is_not_null()
        time_name = next(name for name in self.format.paths if name.startswith("time"))
        time_ms = (
            _iso_ms(names[time_name])
            if time_name == "time"
            else _rounded(names[time_name], TIME_FACTORS[time_name])
        )
        for name in self.format.columns:
            made = names.get(name, pl.lit(None))
            if name == "time_ms":
                made = pl.when(sound.fill_null(False)).then(time_ms)
            elif name == "status" and name in has:
                made = made.cast(pl.String).str.zfill(3)
            elif name == "sent_bytes" and name in has:
                made = made.fill_null(0)
            elif name == "latency_us":
                (unit,) = has & LATENCY_FACTORS.keys()
                made = _rounded(names[unit], LATENCY_FACTORS[unit])
            elif name == "tls_protocol" and "tls_number" in has:
                made = names["tls_number"].replace_strict(TLS_NUMBERS, default=None, return_dtype=pl.String)
            elif name == "tls_protocol" and "tls_version" in has:
                made = pl.when(names["tls_version"] != "").then("TLSv" + names["tls_version"])
            elif name in TEXTS:
                made = pl.when(~made.is_in(["", "-"])).then(made)
            yield made.cast(SCHEMA[name]).alias(name)
        yield pl.lit(None, pl.String).alias("reason")

    def _at(self, name: str) -> pl.Expr:
        found = []
        for path in self.format.paths[name]:
            at = pl.col("it")
            for key in path:
                at = at.list.get(int(key), null_on_oob=True) if key.isdecimal() else at.struct.field(key)
            found.append(at)
        return pl.coalesce(found)


def _rounded(number: pl.Expr, factor: float) -> pl.Expr:
    scaled = number * factor
    return pl.when((scaled >= 0) & (scaled < MAX_NUMBER)).then((scaled + 0.5).floor()).cast(pl.Int64)


def _grow(tree: dict[str, object], path: tuple[str, ...], kind: str) -> None:
    for key, behind in pairwise(path):
        if behind.isdecimal():
            tree[key] = [kind]
            return
        inner = tree.setdefault(key, {})
        assert isinstance(inner, dict)
        tree = inner
    tree[path[-1]] = kind


def _type(tree: object) -> pl.DataType:
    if isinstance(tree, dict):
        return pl.Struct({key: _type(inner) for key, inner in tree.items()})
    if isinstance(tree, list):
        return pl.List(_type(tree[0]))
    return {TEXT: pl.String(), INTEGER: pl.Int64(), NUMBER: pl.Float64()}[str(tree)]


def _odd(tree: dict[str, object]) -> Iterable[str]:
    """What a line has where a field is of another type than expected, which native code would bend to it."""
    not_begun = {TEXT: r'[^"\s]', INTEGER: r"(?:[^0-9\s]|[0-9]+[^0-9,}\]\s]|[0-9]{18})", NUMBER: r"[^0-9\s]"}
    for key, inner in tree.items():
        if isinstance(inner, dict):
            odd = r"[^{\s]"
            yield from _odd(inner)
        elif isinstance(inner, list):
            odd = rf"(?:[^\[\s]|\[\s*{not_begun[inner[0]]})"
        else:
            odd = not_begun[str(inner)]
        yield rf'"{re.escape(key)}"\s*:\s*{odd}'
