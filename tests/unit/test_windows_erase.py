"""A key is erased at once beside a job that folds, merges and publishes what it has read before."""

import io
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from logpipe.clients.hdfs import HdfsAbsentError, HdfsExistsError
from logpipe.settings import Settings, parse
from logpipe.windows import erase as erasing
from logpipe.windows.commit import ERASED_FILE, Commit
from tests.memory_hdfs import MemoryHdfs
from windows import folds
from windows import steps as job_steps
from windows.hdfs import Entry
from windows.options import from_arguments
from windows.rows import SUMS
from windows.steps import Steps
from windows.store import CommitLog

PERSON, OTHER = "203.0.113.7", "198.51.100.1"
START_S = 1_773_144_000


class JobHdfs:
    """The job's own way to the same files: `windows.hdfs.Hdfs`."""

    def __init__(self, memory: MemoryHdfs, url: str) -> None:
        self._memory, self._url = memory, url

    def _at(self, path: str) -> str:
        return path.removeprefix(self._url)

    def open(self, path: str) -> io.BytesIO:
        if (content := self.read(path)) is None:
            raise FileNotFoundError(path)
        return io.BytesIO(content)

    def create(self, path: str) -> io.BytesIO:
        memory, at = self._memory, self._at(path)

        class Written(io.BytesIO):
            def close(self) -> None:
                if not self.closed:
                    memory.write(at, self.getvalue(), overwrite=True)
                super().close()

        return Written()

    def read(self, path: str) -> bytes | None:
        return self._memory.read(self._at(path))

    def tail(self, path: str, length: int) -> bytes | None:
        return self._memory.tail(self._at(path), length)

    def read_text(self, path: str) -> str:
        return self.open(path).read().decode()

    def write_text(self, path: str, text: str) -> None:
        self._memory.write(self._at(path), text.encode(), overwrite=True)

    def rename(self, source: str, target: str, overwrite: bool = False) -> None:
        try:
            self._memory.rename(self._at(source), self._at(target), overwrite=overwrite)
        except HdfsAbsentError as error:
            raise FileNotFoundError(str(error)) from None
        except HdfsExistsError as error:
            raise FileExistsError(str(error)) from None

    def delete(self, path: str) -> None:
        self._memory.delete(self._at(path))

    def make_folder(self, path: str) -> None:
        self._memory.make_folder(self._at(path))

    def touch(self, path: str, time_ms: int) -> None:
        self._memory._modified_ms[self._at(path)] = time_ms

    def modified_ms(self, path: str) -> int:
        found = self._memory.status(self._at(path))
        if found is None:
            raise FileNotFoundError(path)
        return found.modified_ms

    def list(self, path: str) -> list[Entry]:
        entries = self._memory.list(self._at(path))
        return [Entry(each.name, f"{self._at(path)}/{each.name}", each.modified_ms) for each in entries]


class Job:
    """The steps of the windows job; batches are given by hand, and what it would publish is kept."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.memory = settings, MemoryHdfs()
        options = from_arguments(["--console-interval-s", "1e9"], settings)
        self.hdfs = JobHdfs(self.memory, options.hdfs_url)
        commits = CommitLog(self.hdfs, options.checkpoint_url, options.windows_url)  # type: ignore[arg-type]
        commit = commits.take_over(lambda: Commit(0, "start", options.fixed(), "t"))
        self.steps = Steps(self.hdfs, commits, None, options, commit)  # type: ignore[arg-type]
        self.steps._look_at = float("inf")
        self.published: list[str] = []
        self.steps._sender = SimpleNamespace(send=self._send)  # type: ignore[assignment]
        self.steps.recover()
        self.lines: Counter[str] = Counter()

    def _send(self, topic: str, records: Iterator[tuple[str, str | None]]) -> None:
        self.published += [value or "" for _, value in records]

    def batch(self) -> None:
        values = {"start_s": START_S, "dimension": "host", "lines": 3, "sent_bytes": 0, "line_bytes": 0}
        rows = pl.DataFrame([values | {"key": key, "hash_sum": 0} for key in (PERSON, OTHER)])
        rows = rows.select("start_s", "dimension", "key", *SUMS)
        before = self.steps.commit
        self.steps._do(lambda: (self.steps._next("batch", log_rows=before.log_rows + 2), rows))
        self.lines += Counter({PERSON: 3, OTHER: 3})

    def go_on(self) -> None:
        """Fold, close the windows, fold, and merge what is there by then."""
        self.steps._do(self.steps._close)
        self.steps._do(self.steps._close)
        self.steps._published()
        dates = {file.date for file in self.steps._commits.store.all_date_files()}
        for _ in range(3):
            self.steps._files.tidy(self.steps.commit, dates)

    def keys(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for row in self.steps._commits.store.table().to_pylist():
            found[row["key"]] += row["lines"]
        return found

    def holding(self, key: str) -> list[str]:
        """All files with a key, those too that do not count."""
        return [
            path
            for path, content in self.memory.files.items()
            if path.endswith(".parquet") and key in pl.read_parquet(content)["key"].to_list()
        ]


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Job:
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 1)
    monkeypatch.setattr(folds, "FAN_IN", 2)
    made = Job(parse(state_dir=tmp_path))
    monkeypatch.setattr(erasing, "Hdfs", SimpleNamespace(of=lambda _: made.memory))
    for _ in range(5):
        made.batch()
    return made


def erase(job: Job, reached: Callable[[str], Any] = lambda _: None) -> int:
    return erasing.erase_keys(job.settings, lambda key: key.replace(PERSON, "erased"), reached)


def within(job: Job, instant: str, erased: list[int], patch: pytest.MonkeyPatch) -> None:
    """Have it erased before or after a call of the job."""
    when, part, name = instant.split()
    owner = getattr(job.steps, part)
    original = getattr(owner, name)

    def call(*arguments: Any, **more: Any) -> Any:
        result = original(*arguments, **more) if when == "after" else None
        if not erased and (name != "open" or "date=" in arguments[0]):
            erased.append(erase(job))
            job.published.clear()
        return result if when == "after" else original(*arguments, **more)

    patch.setattr(owner, name, call)


INSTANTS = (
    "before _files fold",  # rows are read, nothing is written
    "before _hdfs make_folder",  # a file by date is written, and not in its place
    "after _files fold",  # it is in its place, the commit is not made
    "after _commits write",
    "after _commits commit",  # it is not published
    "after _hdfs open",  # files are merged
)


@pytest.mark.parametrize("instant", INSTANTS)
def test_what_the_job_has_read_before_does_not_come_back(
    job: Job, monkeypatch: pytest.MonkeyPatch, instant: str
) -> None:
    erased: list[int] = []
    with monkeypatch.context() as patch:
        within(job, instant, erased, patch)
        job.go_on()
    assert erased, "it was erased meanwhile"
    assert job.holding(PERSON) == []
    assert not any(PERSON in value for value in job.published)
    job.go_on()
    assert job.holding(PERSON) == []
    assert job.keys() == {"erased": job.lines[PERSON], OTHER: job.lines[OTHER]}
    assert erase(job) == 0, "a second time finds nothing"


def test_a_fold_while_the_files_are_looked_through_is_found(job: Job) -> None:
    looked: list[str] = []

    def go_on_once(step: str) -> None:
        if step == "windows-looked" and not looked:
            looked.append(step)
            job.go_on()  # of what it remembers: the mark is not there yet

    assert erase(job, go_on_once) > 0
    assert job.holding(PERSON) == []
    job.go_on()
    assert job.holding(PERSON) == []
    assert job.keys() == {"erased": job.lines[PERSON], OTHER: job.lines[OTHER]}


def test_lines_that_come_meanwhile_are_new_and_end_no_erasure(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 64)
    before = job.lines[PERSON]
    erase(job, lambda step: job.batch() if step == "windows-looked" else None)
    keys = job.keys()
    assert keys["erased"] == before
    assert keys[PERSON] == job.lines[PERSON] - before > 0


def test_an_erasure_that_finds_nothing_marks_nothing_unless_one_was_killed_before(job: Job) -> None:
    mark = f"{job.settings.hdfs_windows_dir}/{ERASED_FILE}"

    def die(step: str) -> None:
        if step == "windows-looked":
            raise KeyboardInterrupt

    assert erasing.erase_keys(job.settings, lambda key: key, lambda _: None) == 0
    assert job.memory.read(mark) is None
    with pytest.raises(KeyboardInterrupt):
        erase(job, die)
    assert job.memory.read(mark) is None
    assert erase(job) == 0
    assert job.memory.read(mark) is not None, "the job has what it read before"
    job.go_on()
    assert job.holding(PERSON) == []
