"""Whether a day is over: every chain has passed the first record at or after its midnight."""

import time
from datetime import UTC, date, datetime

from logpipe.accounting.chain import ChainReader
from logpipe.accounting.topic import committed, describe, offsets_at
from logpipe.clients.hdfs import Hdfs
from logpipe.contracts.chain import MEMORY_IN_USE_NAME, Layout
from logpipe.contracts.days import end_of_day_ms, name_of
from logpipe.settings import Settings

MEMORY_WAIT_S = 1800.0


class NotOverError(Exception):
    """The day is not over yet; the message says what is missing."""


def still_missing(hdfs: Hdfs, settings: Settings, day: date, *, linked: bool = False) -> str:
    """What is missing for the day to be over, for a person; empty when it is.

    Where no record came after midnight, the end offset read after midnight stands for it. So an idle topic,
    and one whose records retention took, end their days as well.

    Args:
        hdfs: where the chains are.
        settings: of the pipeline.
        day: which.
        linked: what profile memory has read counts only once it is linked; sealing does that.

    Raises:
        TopicError, HdfsError, ChainError: Kafka or HDFS does not answer, or a link cannot be read.
    """
    end_ms = end_of_day_ms(day, settings.timezone)
    if time.time() * 1000 < end_ms:
        return f"{day} ends at {datetime.fromtimestamp(end_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    now = describe(settings).topic_id
    ends = offsets_at(settings, end_ms)
    reached = dict.fromkeys(ends, 0)
    for partition, chain in ChainReader(hdfs, settings.hdfs_logs_dir).chains().items():
        reached[partition] = chain.final(now)
    if not linked and any(reached[partition] < end for partition, end in ends.items()):
        for partition, read in committed(settings, ends).items():
            reached[partition] = max(reached[partition], read)
    behind = [
        f"partition {partition}: {end - reached[partition]} records before offset {end}"
        for partition, end in sorted(ends.items())
        if reached[partition] < end
    ]
    if behind:
        return f"agent 2 has not made final all of {day}: {'; '.join(behind)}"
    in_use = _in_use_by_memory(hdfs, settings, day)
    return f"profile memory has {in_use} open" if in_use else ""


def _in_use_by_memory(hdfs: Hdfs, settings: Settings, day: date) -> str:
    """A file of the day that its agent 2 may still write; one that is older was left by a killed one."""
    folder = Layout(settings.hdfs_logs_dir).day(name_of(day))
    since_ms = (time.time() - max(MEMORY_WAIT_S, 2 * settings.roll_interval_s)) * 1000
    return next(
        (
            f"{folder}/{entry.name}"
            for entry in hdfs.list(folder)
            if MEMORY_IN_USE_NAME.fullmatch(entry.name) and entry.modified_ms > since_ms
        ),
        "",
    )
