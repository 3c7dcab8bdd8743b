"""Makes the report of a day: its lines counted, held against its manifest, and compared with days before."""

import json
from contextlib import closing, suppress
from datetime import date, timedelta
from typing import Any

from logpipe.accounting.lines import batches, proved
from logpipe.clients.formats import FormatRegistry
from logpipe.clients.hdfs import Hdfs, HdfsError, dumps
from logpipe.contracts import formats
from logpipe.contracts.days import date_of
from logpipe.contracts.sealed import REPORT_FILE, REPORT_PAGE, SealedDay
from logpipe.sealing.place import Place, new_attempt
from logpipe.settings import Settings, zone_of

FORMAT = 1
FOLDER = "report"  # in the state folder, while one is made: what does not fit into memory
MOST_REPLAYS = 50
MOST_PARTS = 100
COMPARED = ("requests", "visitors", "sent_bytes", "malformed")
BEFORE = {"day_before": 1, "week_before": 7}


def make_report(settings: Settings, day: date) -> dict[str, Any] | None:
    """Write the report of a sealed day beside its manifest; returns its figures.

    The same lines, and the same reports of the days before, give the same bytes. None when the day is not
    sealed, or its lines were forgotten.

    Raises:
        DamagedError: a file holds other lines than it should.
        HdfsError, ChainError, EntryError: HDFS, or what stands on it, cannot be read.
    """
    from logpipe.report.figures import Figures  # polars and jinja2 take a while
    from logpipe.report.page import page_of

    with closing(Hdfs.of(settings)) as hdfs:
        place = Place(hdfs, settings, day)
        sealed = place.load()
        if sealed is None or sealed.forgotten_at:
            return None
        known = FormatRegistry(hdfs, settings.hdfs_ledger_dir).load()
        entries = formats.entries_of(sealed.replays, bool(sealed.anonymous.lines), known)
        with Figures(settings.state_dir / FOLDER, {entry.format_text for entry in entries}) as figures:
            for file in sealed.files:
                figures.add(batches(proved(hdfs, f"{place.folder}/{file.name}", file.text, day)))
            found = figures.result(day, zone_of(settings.timezone))
        before = {name: _before(hdfs, settings, day, days) for name, days in BEFORE.items()}
        _mark_new(found["errors"]["top"], before["day_before"])
        report = {
            "format": FORMAT,
            "day": place.name,
            "date": day.isoformat(),
            "timezone": settings.timezone,
            **found,
            "before": {name: None if each is None else _compared(each) for name, each in before.items()},
            "accounting": _accounting(sealed),
        }
        _write(place, {REPORT_FILE: dumps(report), REPORT_PAGE: page_of(report).encode()})
        return report


def days_without(settings: Settings) -> list[date]:
    """The sealed days, oldest first, that have their lines and no report yet.

    Raises:
        HdfsError, ChainError: HDFS, or what stands on it, cannot be read.
    """
    found: list[date] = []
    with closing(Hdfs.of(settings)) as hdfs:
        names = Place(hdfs, settings, date.min).reader.sealed_names()
        for day in sorted(map(date_of, names)):
            place = Place(hdfs, settings, day)
            entries = {entry.name for entry in hdfs.list(place.folder)}  # a forgotten day has no folder
            if entries and REPORT_PAGE not in entries:
                found.append(day)
    return found


def _before(hdfs: Hdfs, settings: Settings, day: date, days: int) -> dict[str, Any] | None:
    """The report of a day so long before; None when there is none of this format."""
    place = Place(hdfs, settings, day - timedelta(days=days))
    content = hdfs.read(f"{place.folder}/{REPORT_FILE}")
    report = json.loads(content) if content else {}
    return report if report.get("format") == FORMAT else None


def _compared(report: dict[str, Any]) -> dict[str, Any]:
    return {"date": report["date"], "classes": report["classes"]} | {name: report[name] for name in COMPARED}


def _mark_new(errors: list[dict[str, Any]], day_before: dict[str, Any] | None) -> None:
    """Say of each error whether the day before had it; None: not known, it may have been a rare one."""
    before: dict[str, Any] = day_before["errors"] if day_before else {"top": [], "distinct": -1}
    known = {error["key"] for error in before["top"]}
    is_all = before["distinct"] == len(known)
    for error in errors:
        error["is_new"] = False if error["key"] in known else True if is_all else None


def _accounting(sealed: SealedDay) -> dict[str, Any]:
    """What the manifest says of the day's lines, which were just read and are these."""
    replays = sorted(sealed.replays.items(), key=lambda each: (-each[1].lines, each[0]))
    return {
        "lines": sealed.lines,
        "digest": sealed.digest.to_json(),
        "anonymous": sealed.anonymous.lines,
        "repeats": sealed.repeats,
        "foreign": sealed.foreign,
        "expired": sealed.expired,
        "unconfirmed": sealed.unconfirmed,
        "files": len(sealed.files),
        "size_bytes": sealed.size_bytes,
        "sealed_at": sealed.sealed_at,
        "replays": {
            "distinct": len(replays),
            "top": [{"id": name, "lines": digest.lines} for name, digest in replays[:MOST_REPLAYS]],
        },
        "chains": {
            "distinct": len(sealed.parts),
            "top": [
                {
                    "partition": part.partition,
                    "epoch": part.epoch,
                    "first": part.members[0].first,
                    "next": part.members[-1].next,
                    "links": len(part.members),
                    "lines": sum(member.digest.lines for member in part.members),
                }
                for part in sealed.parts[:MOST_PARTS]
            ],
        },
    }


def _write(place: Place, files: dict[str, bytes]) -> None:
    """Put files into the day's folder, each at once, in the place of older ones."""
    attempt = new_attempt()
    try:
        for name, content in files.items():
            staged = f"{place.sealing}/{attempt}/{name}"
            place.hdfs.write(staged, content)
            place.hdfs.rename(staged, f"{place.folder}/{name}", overwrite=True)
    finally:
        place.delete_attempts([attempt])
        with suppress(HdfsError):  # another process seals or mends there
            place.hdfs.delete(place.sealing, recursive=False)
