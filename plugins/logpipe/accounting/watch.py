"""What will hurt if nobody looks: lag against retention, disk space, replicas, dead letters."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from logpipe.accounting.source import SourceGoneError, replays
from logpipe.accounting.topic import oldest_unread, retention_s
from logpipe.clients import hdfs
from logpipe.clients.errors import ClientError
from logpipe.settings import Settings
from logpipe.windows.commit import WindowsError
from logpipe.windows.reader import commit_totals

WARN_RETENTION_SHARE = 0.5
WARN_FREE_SHARE = 0.10
WARN_FREE_BYTES = 2 * 2**30
GIB = 2**30


@dataclass(frozen=True)
class Observation:
    """One thing that was looked at; ``warning`` says what to do, and is empty when all is well.

    Attributes:
        kind: of what is finite: ``disk`` or ``retention``; ``used`` is the share that is used up.
    """

    name: str
    value: str
    warning: str = ""
    kind: str = ""
    used: float | None = None


def observe(settings: Settings, *, here_only: bool = False) -> list[Observation]:
    """Look at everything, or only at this machine; what cannot be looked at is an observation too."""
    looks: tuple[tuple[str, Callable[[Settings], Iterator[Observation]]], ...] = (
        ("lag of agent 2", _lag),
        ("disk", _disk),
        ("HDFS", _hdfs),
        ("dead letters", _dead_letters),
    )
    observations: list[Observation] = []
    for name, look in looks:
        if here_only and look is not _disk:
            continue
        try:
            observations += look(settings)
        except (ClientError, WindowsError, SourceGoneError, OSError) as error:
            observations.append(Observation(name, "unknown", f"cannot be looked at: {str(error)[:200]}"))
    return observations


def _lag(settings: Settings) -> Iterator[Observation]:
    unread = oldest_unread(settings)
    lines = sum(place.lines for place in unread)
    lost = sum(place.expired_lines for place in unread)
    age_s = max(
        (time.time() - place.timestamp_ms / 1000 for place in unread if place.timestamp_ms), default=0.0
    )
    kept_s = retention_s(settings)
    warning = ""
    if lost:
        warning = f"Kafka's retention has taken {lost:,} lines that agent 2 had not read"
    elif kept_s is not None and age_s > WARN_RETENTION_SHARE * kept_s:
        warning = (
            f"the oldest unread line is {age_s / 3600:.1f} h old, "
            f"and Kafka keeps lines for {kept_s / 3600:.1f} h: "
            "see why agent 2 is slow or down, or raise the topic's retention.ms"
        )
    kept = "for ever" if kept_s is None else f"{kept_s / 3600:.0f} h"
    yield Observation(
        "lag of agent 2",
        f"{lines:,} lines, oldest {age_s:.0f} s (Kafka keeps {kept})",
        warning,
        "retention",
        1.0 if lost else age_s / kept_s if kept_s else 0.0,
    )


def _disk(settings: Settings) -> Iterator[Observation]:
    for path in settings.store_folders[1:]:
        usage = shutil.disk_usage(path)
        yield _free(
            f"disk of {path.name}",
            usage.free,
            usage.total,
            f"make room; below {settings.keep_free_mb} MB no more lines are sent",
        )


def _free(name: str, free: int, total: int, what_to_do: str) -> Observation:
    is_low = free < WARN_FREE_BYTES or free < WARN_FREE_SHARE * total
    return Observation(
        name,
        f"{free / GIB:.1f} of {total / GIB:.1f} GiB free",
        f"is running full: {what_to_do}" if is_low else "",
        "disk",
        1 - free / total if total else 1.0,
    )


def _hdfs(settings: Settings) -> Iterator[Observation]:
    storage = hdfs.storage(settings)
    yield _free("HDFS", storage.free_bytes, storage.capacity_bytes, "add a DataNode, or delete old days")
    under, missing = storage.under_replicated_blocks, storage.missing_blocks
    warning = f"{missing} blocks have no replica at all: start the DataNode that has them" if missing else ""
    if under and not missing:
        warning = f"{under} blocks have fewer replicas than wanted: a DataNode is down, or there are too few"
    yield Observation("HDFS blocks", f"{under} under-replicated, {missing} missing", warning)


def _dead_letters(settings: Settings) -> Iterator[Observation]:
    sent = replays(settings)
    set_aside = sum(record.set_aside for record in sent)
    windows = commit_totals(settings)
    share = (set_aside + windows.malformed) / max(1, sum(record.digest.lines for record in sent) + set_aside)
    warning = f"{100 * share:.1f} % of all lines: is the source an access log?" if share > 0.05 else ""
    yield Observation(
        "dead letters", f"{set_aside:,} lines too long, {windows.malformed:,} malformed", warning
    )
