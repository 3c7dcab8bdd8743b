"""docs/benchmarks.md and its plots, from the figures alone."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

HEAD = """# Benchmarks

`make bench` measures and writes this page; `SHORT=1` takes ten minutes, `python -m benchmarks NAME…` only
some. What was tried on the way, and what each step brought, is in [performance.md](performance.md). CPU is
what the kernel has accounted to a service's processes; memory is PSS. Seconds hold for
the load that is given.
"""
COLORS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677", "#aa3377", "#bbbbbb", "#332288", "#88ccaa")
WIDTH, ROW, LEFT = 760, 26, 210


def write(results: Mapping[str, Any], titles: Mapping[str, str], folder: Path) -> None:
    """Write ``benchmarks.md`` and ``pictures/benchmark-*.svg`` below a folder."""
    parts = [HEAD]
    for name, title in titles.items():
        parts.append(f"## {title}\n")
        result = results.get(name)
        if result is None:
            parts.append("Not measured yet.\n")
            continue
        load = (
            f"load of {result['load_before']} before"
            if result["load_before"] is not None
            else "quiet machine"
        )
        parts.append(
            f"`{result['command']}`, commit {result['commit']}, {result['began']}, {load}; "
            f"{result['machine']}.\n"
        )
        if "failed" in result:
            parts.append(f"It failed: {result['failed']}\n")
        figures = result["figures"]
        parts += [table(group) for group in _alike(figures)]
        picture = folder / "pictures" / f"benchmark-{name}.svg"
        if (plot := _plot(name, figures)) is not None:
            picture.write_text(plot)
            parts.append(f"![{title}](pictures/{picture.name})\n")
    (folder / "benchmarks.md").write_text("\n".join(parts))


def _alike(figures: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The figures in groups with the same names, so that each group is a table."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for figure in figures:
        groups.setdefault(tuple(figure), []).append(figure)
    return list(groups.values())


def table(figures: Sequence[Mapping[str, Any]]) -> str:
    """A row a figure, a column a run; what has parts has a row a part."""
    rows = [flat(figure) for figure in figures]
    names = list(dict.fromkeys(name for row in rows for name in row))
    first, *rest = names
    head = [first, *(cell(row.get(first)) for row in rows)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {name} | {' | '.join(cell(row.get(name)) for row in rows)} |" for name in rest]
    return "\n".join(lines) + "\n"


def flat(figure: Mapping[str, Any]) -> dict[str, Any]:
    """``{"cpu": {"kafka": 2}}`` as ``{"cpu: kafka": 2}``."""
    row: dict[str, Any] = {}
    for name, value in figure.items():
        parts = (
            {f"{name}: {part}": each for part, each in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
        row |= parts
    return row


def cell(value: object) -> str:
    """A value as a table shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value).replace("|", "\\|")


def _plot(name: str, figures: Sequence[Mapping[str, Any]]) -> str | None:
    if name in ("july", "memory") and figures:
        rows = {f"turn {figure['turn']}": figure["cpu_us_a_line"] for figure in figures}
        return bars("CPU of each service, µs a line", rows)
    for unit, words in (("lines_per_s", "lines a second"), ("cpu_us_a_line", "µs of CPU a line")):
        rows = {str(row["case"]): {unit: row[unit]} for row in figures if "case" in row and unit in row}
        if len(rows) > 1:
            return bars(words, rows)
    return None


def bars(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """Horizontal bars, each made of its parts, as SVG that reads on light and on dark ground."""
    most = max(sum(parts.values()) for parts in rows.values()) or 1
    parts_named = list(dict.fromkeys(part for parts in rows.values() for part in parts))
    legend = parts_named if len(parts_named) > 1 else []
    scale = (WIDTH - LEFT - 90) / most
    height = 40 + ROW * len(rows) + 18 * ((len(legend) + 3) // 4) + 10
    shapes = [f'<text x="10" y="22" font-weight="bold">{escape(title)}</text>']
    for at, (label, parts) in enumerate(rows.items()):
        x, y = float(LEFT), 36 + ROW * at
        shapes.append(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(label)}</text>')
        for part, value in parts.items():
            color, width = COLORS[parts_named.index(part) % len(COLORS)], value * scale
            hint = f"<title>{escape(part)}: {value:,}</title>"
            shapes.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="18" fill="{color}">{hint}</rect>'
            )
            x += width
        shapes.append(f'<text x="{x + 6:.1f}" y="{y + 15}">{sum(parts.values()):,.5g}</text>')
    for at, part in enumerate(legend):
        x, y = 10 + 185 * (at % 4), 46 + ROW * len(rows) + 18 * (at // 4)
        shapes.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{COLORS[at % len(COLORS)]}"/>')
        shapes.append(f'<text x="{x + 16}" y="{y + 10}">{escape(part)}</text>')
    style = "text{font:13px sans-serif;fill:#666}"
    body = "\n".join(shapes)
    root = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
    return f"{root}<style>{style}</style>\n{body}\n</svg>\n"
