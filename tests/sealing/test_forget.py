"""A sealed day may be forgotten: its lines go, its sums stay."""

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from logpipe.accounting.chain import ChainReader
from logpipe.accounting.days import DaysReader
from logpipe.sealing.forget import NotSealedError, forget, forget_old
from logpipe.sealing.repair import repair
from logpipe.sealing.seal import seal
from tests.sealing.chain_writer import DAY, next_day
from tests.sealing.test_seal import full_day, numbered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

DYING_FORGET = """
import os, signal
from datetime import date
from logpipe.sealing.forget import forget
from logpipe.settings import load
forget(load(), date(2026, 3, 10), lambda step: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_only_a_sealed_day_is_forgotten_and_its_sums_stay(pipeline):
    full_day(pipeline)
    before = pipeline.hdfs.list(pipeline.folder())
    with pytest.raises(NotSealedError, match="make seal DATE=2026-03-10"):
        forget(pipeline.settings, DAY)
    assert pipeline.hdfs.list(pipeline.folder()) == before
    sealed = seal(pipeline.settings, DAY)
    forget(pipeline.settings, DAY)
    assert pipeline.hdfs.status(pipeline.folder()) is None
    assert pipeline.sealed().digest == sealed.digest
    assert pipeline.sealed().forgotten_at
    assert forget(pipeline.settings, DAY) == pipeline.sealed(), "a second time changes nothing"
    assert repair(pipeline.settings).done == [], "what is forgotten is not lost"
    assert seal(pipeline.settings, DAY).forgotten_at
    assert pipeline.hdfs.status(pipeline.folder()) is None
    assert pipeline.run_program()[1]["status"] == "forgotten"


def test_lines_that_came_when_the_day_was_sealed_are_not_forgotten(pipeline):
    full_day(pipeline)
    sealed = seal(pipeline.settings, DAY)
    pipeline.send([b"late"])
    late = pipeline.file_of(pipeline.link(pipeline.heads[0].next + 1))
    reader = ChainReader(pipeline.hdfs, pipeline.settings.hdfs_logs_dir)
    for _ in range(2):
        forget(pipeline.settings, DAY)
        assert [entry.name for entry in pipeline.hdfs.list(pipeline.folder())] == [late.rpartition("/")[2]]
        assert pipeline.hdfs.read(late) == b"late\n"
        found = DaysReader(reader).read(reader.chains())
        assert (found.forgotten, found.problems) == ((sealed.day,), ())
    pipeline.hdfs.delete(late)
    (problem,) = DaysReader(reader).read(reader.chains()).problems
    assert f"{late} is missing, with 1 lines" in problem.text


def test_a_killed_forgetting_is_finished_by_the_next(pipeline):
    full_day(pipeline)
    seal(pipeline.settings, DAY)
    command = [sys.executable, "-c", DYING_FORGET]
    assert subprocess.run(command, env=pipeline.environment()).returncode == -signal.SIGKILL
    assert pipeline.hdfs.status(pipeline.folder()) is not None
    forget(pipeline.settings, DAY)
    assert pipeline.hdfs.status(pipeline.folder()) is None


def test_old_days_are_forgotten_after_the_days_that_are_to_be_kept(pipeline):
    full_day(pipeline)
    pipeline.send(numbered(5), day=next_day())
    pipeline.link(74)
    for day in (DAY, next_day()):
        seal(pipeline.settings, day)
    assert forget_old(pipeline.settings) == []
    kept = (datetime.now(UTC).date() - next_day()) // timedelta(days=1)
    settings = pipeline.settings.model_copy(update={"keep_days": kept})
    assert forget_old(settings) == [DAY]
    assert forget_old(settings) == []
    assert pipeline.hdfs.status(pipeline.folder(next_day())) is not None
