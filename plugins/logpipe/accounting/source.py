"""Reads a replay's source again, as far as it was sent: needed only to name lines that differ."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain

from logpipe.replayer.addresses import AddressKeyError, treated
from logpipe.replayer.errors import SourceError
from logpipe.replayer.follow.files import read_again
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.gunzip import UnpackLimits, gunzip, is_gzip, pass_through
from logpipe.replayer.halt import Halt
from logpipe.replayer.journal import load_records, load_sums
from logpipe.replayer.ledger import INTERVAL_S, Copies, LedgerError
from logpipe.replayer.lines import LineSplitter
from logpipe.replayer.raw_reader import RawReader, source_of
from logpipe.replayer.record import ReplayRecord
from logpipe.replayer.sums import Sums
from logpipe.replayer.urls import SourceUrl
from logpipe.settings import Settings

PATIENCE_S = 20.0
COPY_PATIENCE_S = INTERVAL_S + 5  # a copy on HDFS may lag behind its record by so much


class SourceGoneError(Exception):
    """A source cannot be read again, or is another one now; the message names it and the reason."""


def all_records(settings: Settings) -> list[ReplayRecord]:
    """The records of all replays of this copy, oldest first, and of the repairs among them.

    With ``replays_on`` ``hdfs`` they are copies, which lag behind by up to `INTERVAL_S`.

    Raises:
        SourceGoneError: a record cannot be read.
    """
    return _ledger(settings)[0]


def replays(settings: Settings) -> list[ReplayRecord]:
    """The records without repairs; a copy that says that its replay runs is given the time to catch up.

    Not so the files of followed logs, which always run.

    Raises:
        SourceGoneError: a record cannot be read.
    """
    deadline = time.monotonic() + (COPY_PATIENCE_S if settings.replays_on == "hdfs" else 0)
    while True:
        records = all_records(settings)
        if (
            all(record.state != "running" or record.generation for record in records)
            or time.monotonic() > deadline
        ):
            return [record for record in records if not record.is_repair]
        time.sleep(1)


def ledger(settings: Settings) -> tuple[list[ReplayRecord], Sums]:
    """What was sent, as far as it is recorded now; waits for nothing.

    Returns:
        The records of all replays that are kept, oldest first, and of repairs: those send lines of other
        replays again (`logpipe.identity.credited_to`). And the sums of those whose records were folded away.

    Raises:
        SourceGoneError: a record or the sums cannot be read.
    """
    records, sums = _ledger(settings)
    return [record for record in records if record.spec.replay_id not in sums.folded], sums


def _ledger(settings: Settings) -> tuple[list[ReplayRecord], Sums]:
    """Records first, then the sums: what is folded in between counts once."""
    try:
        if settings.replays_on == "hdfs":
            with closing(Copies(settings)) as copies:
                return copies.all(), copies.sums()
        folder = settings.state_dir / "replays"
        records, unreadable = load_records(folder)
        if unreadable:
            raise SourceGoneError("; ".join(unreadable.values()))
        return list(records), load_sums(folder)
    except (LedgerError, ValueError) as error:
        raise SourceGoneError(f"The records of the replays: {error}") from None


def sent_lines(record: ReplayRecord, settings: Settings) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line that the replay sent, as it was sent, in bounded memory.

    Raises:
        SourceGoneError: the source is away, or is not the one that was sent.
    """
    number = 0
    last = record.place.line
    try:
        treat = treated(record.treatment, settings)
        for item in _lines(record, settings):
            if isinstance(item, list):
                for line in treat(item[: last - number]):
                    number += 1
                    if len(line) <= settings.max_line_bytes:  # else it was set aside
                        yield number, line
            else:
                number += 1  # it was set aside, not sent
            if number >= last:
                return
    except AddressKeyError as error:
        raise SourceGoneError(f"{record.spec.replay_id}: its lines cannot be made again: {error}") from None
    except SourceError as error:
        raise SourceGoneError(f"{record.to_json()['url']} cannot be read again: {error}") from None


def _lines(record: ReplayRecord, settings: Settings) -> Iterator[object]:
    splitter = LineSplitter(settings.max_line_bytes)
    for plain in _of_replay(record, settings) if record.generation is None else read_again(record, settings):
        yield from splitter.feed(plain)
    yield from splitter.finish()


def _of_replay(record: ReplayRecord, settings: Settings) -> Iterator[bytes]:
    spec = record.spec
    source = source_of(SourceUrl.parse(spec.url), FrontDoor.of(settings, spec.replay_id), spec.login)
    reader = RawReader(source, Halt(), pinned=record.version, patience_s=PATIENCE_S)
    blocks = iter(reader)
    head = next(blocks, b"")
    whole = chain([head], blocks)
    plain = gunzip(whole, UnpackLimits.of(settings)) if is_gzip(head) else pass_through(whole)
    try:
        for block in plain:
            yield block.plain
    finally:
        reader.close()
