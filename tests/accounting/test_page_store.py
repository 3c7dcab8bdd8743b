"""The page's copy of the windows follows a store on a real HDFS, written as the windows job would."""

import io
import uuid
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logpipe.clients.hdfs import Hdfs as Client
from logpipe.page.store import Mirror, read_snapshot
from logpipe.page.traffic import Traffic
from logpipe.settings import parse
from logpipe.windows.commit import FOOTER_KEY, Commit, DateFile, step_name
from logpipe.windows.erase import erase_keys
from logpipe.windows.reader import WindowStore
from tests.machine import HDFS_USER

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BEGIN_S = 1_773_144_000  # 2026-03-10 12:00 UTC
DATE = "2026-03-10"
NAMES = ("window_start", "dimension", "key", "lines", "sent_bytes")


class Store:
    """A windows job's folders."""

    def __init__(self, hdfs, folder):
        root = f"/user/{HDFS_USER}/{uuid.uuid4().hex[:8]}"
        self.settings = parse(
            webhdfs_url=hdfs.webhdfs_url, hdfs_url=hdfs.url, state_dir=folder,
            hdfs_checkpoint_dir=f"{root}/checkpoint", hdfs_windows_dir=f"{root}/windows",
        )  # fmt: skip
        self.hdfs = Client.of(self.settings)
        self.epoch = 1
        self.commit = Commit(0, "start", {"window_s": 60}, "t", store_id="first")

    def step(self, minutes, **changes):
        """A step that adds a line of each minute."""
        done = self.commit.lines + len(minutes)
        changes = {"kind": "batch", "lines": done, "watermark_ms": BEGIN_S * 1000, **changes}
        self.commit = replace(self.commit, step=self.commit.step + 1, **changes)
        folder = f"{self.settings.hdfs_checkpoint_dir}/windows/commits.{self.epoch}"
        path = f"{folder}/{step_name(self.commit.step)}"
        self.hdfs.write(path, rows(minutes, {FOOTER_KEY: self.commit.to_json()}))

    def fold(self, minutes):
        """A fold of all that there is, into one file of the date."""
        file = DateFile(DATE, 1, self.commit.step, 0)
        self.hdfs.write(f"{self.settings.hdfs_windows_dir}/{file.path}", rows(minutes))
        self.step([], kind="fold", folded=self.commit.step + 1)

    def take_over(self):
        """Another driver: the epoch's folder has another name."""
        folder = f"{self.settings.hdfs_checkpoint_dir}/windows/commits."
        self.hdfs.rename(f"{folder}{self.epoch}", f"{folder}{self.epoch + 1}")
        self.epoch += 1


def rows(minutes, metadata=None):
    start = [datetime.fromtimestamp(BEGIN_S + 60 * minute, UTC) for minute in minutes]
    of = (start, ["status"] * len(start), ["200"] * len(start), [1] * len(start), [5] * len(start))
    types = (pa.timestamp("us", "UTC"), pa.string(), pa.string(), pa.int64(), pa.int64())
    schema = pa.schema(list(zip(NAMES, types, strict=True)), metadata=metadata)
    buffer = io.BytesIO()
    pq.write_table(pa.table(list(map(pa.array, of, types)), schema=schema), buffer)
    return buffer.getvalue()


@pytest.fixture
def store(hdfs, tmp_path):
    return Store(hdfs, tmp_path / "state")


def lines_by_minute(mirror):
    asked = {"from": str(BEGIN_S), "to": str(BEGIN_S + 600)}
    return Traffic(mirror).answer(asked)["series"]["lines"].get("2xx", [])


def test_the_copy_holds_what_the_commit_holds_through_folds_takeovers_and_a_store_begun_anew(store, tmp_path):
    mirror = Mirror(store.settings, tmp_path / "copy")
    assert mirror.follow() is None
    store.step([0, 1, 1])
    assert mirror.follow().commit.lines == 3
    assert lines_by_minute(mirror)[:3] == [1, 2, 0]
    assert mirror.follow() is mirror.snapshot, "nothing new, nothing read"
    before = {path.name for path in mirror.folder.iterdir()}
    store.step([2])
    store.take_over()
    store.step([2, 3])
    mirror.follow()
    assert lines_by_minute(mirror)[:5] == [1, 2, 2, 1, 0]
    assert before < {path.name for path in mirror.folder.iterdir()}, "files that stay are not fetched again"
    store.fold([0, 1, 1, 2, 2, 3])
    store.step([9])
    mirror.follow()
    assert lines_by_minute(mirror) == [1, 2, 2, 1, 0, 0, 0, 0, 0, 1]
    assert len(list(mirror.folder.iterdir())) == 2, "what stands in the fold's file is dropped"
    store.hdfs.delete(store.settings.hdfs_checkpoint_dir)
    store.hdfs.delete(store.settings.hdfs_windows_dir)
    store.commit = Commit(0, "start", {"window_s": 60}, "t", store_id="second")
    store.step([4])
    mirror.follow()
    assert lines_by_minute(mirror)[:6] == [0, 0, 0, 0, 1, 0]
    assert (mirror.snapshot.commit.step, mirror.snapshot.open_from_s) == (1, BEGIN_S)


def test_files_are_fetched_anew_after_an_erasure(store, tmp_path):
    mirror = Mirror(store.settings, tmp_path / "copy")
    store.step([0, 1])
    store.fold([0, 1])
    store.step([2])
    mirror.follow()
    before = {path.name for path in mirror.folder.iterdir()}
    keys = lambda key: "2xx" if key == "200" else key  # noqa: E731
    assert erase_keys(store.settings, keys, lambda _: None) == 5, (
        "of the date, and of the log behind and before"
    )
    found = mirror.follow()
    assert found.commit.step == store.commit.step
    after = {path.name for path in mirror.folder.iterdir()}
    assert len(after) == len(before)
    assert not after & before
    assert WindowStore(
        store.hdfs, store.settings.hdfs_checkpoint_dir, store.settings.hdfs_windows_dir
    ).commit() == (store.commit), "the commit in the footer is as it was"
    assert mirror.follow() is mirror.snapshot
    assert mirror.snapshot.fold == found.fold


def test_files_by_date_are_listed_after_a_fold_only(store):
    store.step([0])
    store.fold([0])
    with closing(Client.of(store.settings)) as hdfs:
        known = read_snapshot(store.settings, hdfs)
        # One that counts only from the next fold on.
        store.hdfs.write(f"{store.settings.hdfs_windows_dir}/{DateFile(DATE, 3, 3, 0).path}", rows([7]))
        store.step([7])
        found = read_snapshot(store.settings, hdfs, known)
        assert found.by_date == known.by_date
        assert len(found.files) == len(known.files) + 1
