"""Forgetting a sealed day: its lines go, its sums stay."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from logpipe.accounting.chain import ChainReader
from logpipe.clients.hdfs import Hdfs
from logpipe.contracts.days import date_of
from logpipe.contracts.sealed import SealedDay
from logpipe.sealing.place import Place, Reached, nowhere
from logpipe.sealing.seal import finish
from logpipe.settings import Settings, zone_of


class NotSealedError(Exception):
    """The day is not sealed; the message says what to do."""


def forget(settings: Settings, day: date, reached: Reached = nowhere) -> SealedDay:
    """Delete the lines of a sealed day; a day that is forgotten already stays so.

    Raises:
        NotSealedError: the day's lines are known nowhere else.
    """
    with closing(Hdfs.of(settings)) as hdfs:
        place = Place(hdfs, settings, day)
        sealed = place.load()
        if sealed is None:
            raise NotSealedError(f"{day} is not sealed, so it is not forgotten: `make seal DATE={day}` first")
        if not sealed.forgotten_at:
            sealed = replace(sealed, forgotten_at=datetime.now(UTC).isoformat(timespec="seconds"))
            place.save(sealed, overwrite=True)
            reached("marked")
        finish(place, sealed, reached)
        return sealed


def forget_old(settings: Settings) -> list[date]:
    """Forget the sealed days that are older than ``LOGPIPE_KEEP_DAYS``; returns which. 0 keeps all."""
    if not settings.keep_days:
        return []
    today = datetime.now(zone_of(settings.timezone)).date()
    with closing(Hdfs.of(settings)) as hdfs:
        reader = ChainReader(hdfs, settings.hdfs_logs_dir)
        days = {date_of(name): name for name in sorted(reader.sealed_names())}
        old = [day for day in days if day < today - timedelta(days=settings.keep_days)]
        gone = [day for day in old if (found := reader.sealed(days[day])) and not found.forgotten_at]
    for day in gone:
        forget(settings, day)
    return gone
