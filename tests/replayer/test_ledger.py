"""Copies of records on a real HDFS, which may be away."""

import gzip
import json
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from logpipe.accounting.source import ledger as recorded
from logpipe.clients.formats import FormatConflictError, FormatRegistry
from logpipe.clients.hdfs import HdfsError
from logpipe.contracts.formats import Entry
from logpipe.digest import Digest
from logpipe.replayer.follow.store import Follow, FollowStore
from logpipe.replayer.ledger import Copies
from logpipe.replayer.sums import Sums
from logpipe.settings import parse
from tests.machine import Hdfs
from tests.waiting import wait_until

from .process import ReplayerProcess, Stack
from .test_record import sealed

pytestmark = pytest.mark.integration
LEDGER = "/user/bigdata/apache_logs_ledger"
COPIES = f"{LEDGER}/replays"
CADDY = (
    b'{"ts":1700000000.5,"request":{"remote_ip":"::1","method":"GET","host":"v","uri":"/"},"status":200,"size":7,'
    b'"duration":0.25}\n'
)


def test_records_are_copied_to_hdfs_when_it_is_there(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    process = start_replayer(**stack.settings, webhdfs_url=hdfs.webhdfs_url)

    def done(replay_id: str) -> dict[str, object] | None:
        found = copy_of(hdfs, replay_id)
        return found if found.get("state") == "done" else None

    process.submit("copied", f"file://{tmp_path}/a.log")
    record = process.wait_state("copied", "done")
    assert wait_until(lambda: done("copied"), 30, "a copy on HDFS").items() >= record.items()
    hdfs.namenode.send_signal(signal.SIGSTOP)
    process.submit("later", f"file://{tmp_path}/a.log")
    record = process.wait_state("later", "done")
    hdfs.namenode.send_signal(signal.SIGCONT)
    assert wait_until(lambda: done("later"), 30, "the copy when HDFS is back").items() >= record.items()


def test_another_host_goes_on_from_the_copy_of_a_lost_one(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    """The second host repeats what was sent since the copy, with the same keys, and loses nothing."""
    lines = 2000
    (tmp_path / "b.log").write_text("".join(f"line {number}\n" for number in range(lines)))
    shared = {**stack.settings, "webhdfs_url": hdfs.webhdfs_url, "replays_on": "hdfs"}
    url = f"file://{tmp_path}/b.log"
    lost = start_replayer(**shared)
    lost.submit("moved", url, pace="delay:0.01")
    lost.wait_lines("moved", 100)
    copied = wait_until(lambda: lines_of_copy(hdfs, "moved"), 30.0, "a copy on HDFS")
    lost.kill()

    other = start_replayer(state_name="other", **shared)
    record = other.submit("moved", url, pace="delay:0.01")
    assert copied <= record["lines"] < lines
    other.request("POST", "/replays/moved/stop")
    other.wait_state("moved", "stopped")
    other.kill()

    third = start_replayer(state_name="third", **shared)
    assert third.submit("moved", url, pace="delay:0.01")["state"] == "running"
    refused = third.request(
        "POST", "/replays", {"replay_id": "moved", "url": url, "pace": "max", "profile": "durable"}
    )
    assert refused[0] == 409
    third.terminate()


def test_an_old_record_never_takes_the_place_of_a_newer_copy(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    """A host that comes back does not know what the others did meanwhile: it learns it from the copy."""
    (tmp_path / "c.log").write_text("".join(f"line {number}\n" for number in range(300)))
    shared = {**stack.settings, "webhdfs_url": hdfs.webhdfs_url, "replays_on": "hdfs"}
    url = f"file://{tmp_path}/c.log"
    first = start_replayer(**shared)
    first.submit("back", url, pace="delay:0.01")
    first.wait_lines("back", 20)
    assert first.terminate() == 0
    behind = json.loads((first.state_dir / "replays" / "back.json").read_text())

    other = start_replayer(state_name="other", **shared)
    other.submit("back", url, pace="delay:0.01")
    other.wait_state("back", "done")
    status, sealed = other.request("POST", "/replays/back/seal", {"sealed_at": "2026-01-01T00:00:00+00:00"})
    assert status == 200
    wait_until(lambda: copy_of(hdfs, "back").get("sealed_at"), 30, "the seal on HDFS")

    first = start_replayer(**shared)
    assert behind["state"] == "running"
    learned = wait_until(
        lambda: one if (one := first.record("back"))["sealed_at"] else None, 30, "what the other host knows"
    )
    assert learned == sealed
    assert copy_of(hdfs, "back").items() >= sealed.items()
    assert json.loads((first.state_dir / "replays" / "back.json").read_text()).items() >= sealed.items()


def test_a_replay_whose_copy_is_gone_does_not_go_on_by_itself(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    """Another host may have sent all of it, so long ago that its sums are all that is left."""
    (tmp_path / "g.log").write_text("".join(f"line {number}\n" for number in range(300)))
    shared = {**stack.settings, "webhdfs_url": hdfs.webhdfs_url, "replays_on": "hdfs"}
    url = f"file://{tmp_path}/g.log"
    process = start_replayer(**shared)
    process.submit("gone", url, pace="delay:0.01")
    process.wait_lines("gone", 20)
    assert process.terminate() == 0
    hdfs.client.delete(f"{COPIES}/gone.json")
    process = start_replayer(**shared)
    assert "its copy on HDFS is gone" in process.wait_state("gone", "failed")["reason"]
    assert process.submit("gone", url, pace="delay:0.01")["state"] == "running"
    process.wait_state("gone", "done")


def test_what_one_host_sent_another_one_seals(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    (tmp_path / "d.log").write_bytes(b"one\n")
    shared = {**stack.settings, "webhdfs_url": hdfs.webhdfs_url, "replays_on": "hdfs"}
    sender = start_replayer(**shared)
    sender.submit("sealed-there", f"file://{tmp_path}/d.log")
    sender.wait_state("sealed-there", "done")
    assert sender.terminate() == 0
    other = start_replayer(state_name="other", **shared)
    body = {"sealed_at": "2026-01-01T00:00:00+00:00"}
    assert other.request("POST", "/replays/sealed-there/seal", body)[0] == 200
    wait_until(lambda: copy_of(hdfs, "sealed-there").get("sealed_at"), 30, "the seal on HDFS")


def test_a_stop_leaves_nothing_uncopied(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    (tmp_path / "e.log").write_text("".join(f"line {number}\n" for number in range(3000)))
    process = start_replayer(**stack.settings, webhdfs_url=hdfs.webhdfs_url)
    process.submit("stopping", f"file://{tmp_path}/e.log", pace="delay:0.01")
    wait_until(lambda: copy_of(hdfs, "stopping"), 30, "the first copy")
    process.wait_lines("stopping", 100)
    assert process.terminate() == 0
    record = json.loads((process.state_dir / "replays" / "stopping.json").read_text())
    assert copy_of(hdfs, "stopping") == record


def test_the_topics_partitions_are_copied_before_a_line_is_sent(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    (tmp_path / "f.log").write_bytes(b"one\n")
    shared = {**stack.settings, "webhdfs_url": hdfs.webhdfs_url, "replays_on": "hdfs"}
    process = start_replayer(**shared)
    stack.kafka.service.send_signal(signal.SIGSTOP)
    try:
        process.submit("fixed", f"file://{tmp_path}/f.log")
        wait_until(lambda: copy_of(hdfs, "fixed"), 30, "the first copy")
        hdfs.namenode.send_signal(signal.SIGSTOP)
        stack.kafka.service.send_signal(signal.SIGCONT)
        wait_until(lambda: "other hosts" in (process.record("fixed")["reason"] or ""), 60.0, "a word")
        assert process.record("fixed")["lines"] == 0
    finally:
        stack.kafka.service.send_signal(signal.SIGCONT)
        hdfs.namenode.send_signal(signal.SIGCONT)
    assert process.wait_state("fixed", "done", 60.0)["partitions"] == 3


def test_a_format_is_registered_before_a_line_is_sent_whoever_is_killed(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    (tmp_path / "g.log.gz").write_bytes(gzip.compress(CADDY * 3))
    registry = FormatRegistry(hdfs.client, LEDGER)
    process = start_replayer(**stack.settings, webhdfs_url=hdfs.webhdfs_url)
    stack.durable.send_signal(signal.SIGSTOP)
    try:
        process.submit("formatted", f"file://{tmp_path}/g.log.gz", format="auto")
        wait_until(lambda: registry.get("formatted"), 30, "its entry")
        assert process.record("formatted")["lines"] == 0
        process.kill()
    finally:
        stack.durable.send_signal(signal.SIGCONT)
    process = start_replayer(**stack.settings, webhdfs_url=hdfs.webhdfs_url)
    record = process.wait_state("formatted", "done", 60)
    assert (record["lines"], record["format"], record["format_taken"]) == (3, "auto", "caddy")
    assert registry.get("formatted") == Entry("g.log", "caddy")


def test_without_hdfs_no_line_of_a_format_is_sent(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    (tmp_path / "h.log").write_bytes(CADDY)
    process = start_replayer(**stack.settings, webhdfs_url=hdfs.webhdfs_url)
    FormatRegistry(hdfs.client, LEDGER).put("taken", "x.log", "iis")
    hdfs.namenode.send_signal(signal.SIGSTOP)
    try:
        for replay_id in ("waiting", "taken"):
            process.submit(replay_id, f"file://{tmp_path}/h.log", format="caddy")
        wait_until(lambda: "HDFS" in (process.record("waiting")["reason"] or ""), 60.0, "a word")
        assert process.record("waiting")["lines"] == 0
    finally:
        hdfs.namenode.send_signal(signal.SIGCONT)
    assert process.wait_state("waiting", "done", 60)["format_taken"] == "caddy"
    assert "'iis' of log 'x.log', not as 'caddy'" in process.wait_state("taken", "failed", 60)["reason"]


def test_a_wrong_format_fails_before_a_line_is_sent_and_says_which_would_fit(
    replayer: ReplayerProcess, tmp_path: Path
) -> None:
    (tmp_path / "i.log").write_bytes(CADDY * 3)
    replayer.submit("wrong", f"file://{tmp_path}/i.log", format="combined")
    record = replayer.wait_state("wrong", "failed")
    assert (record["lines"], record["format_taken"]) == (0, None)
    assert "reads 0 of the first 3 lines, for example not '{" in record["reason"]
    assert "Formats that fit: caddy" in record["reason"]


def test_the_registry_refuses_another_format_and_forgets_with_the_record(hdfs: Hdfs) -> None:
    settings = parse(webhdfs_url=hdfs.webhdfs_url, hdfs_ledger_dir="/user/bigdata/formats")
    registry, copies = FormatRegistry(hdfs.client, settings.hdfs_ledger_dir), Copies(settings)
    assert registry.load() == {}
    for _ in range(2):
        registry.put("r", "a.log", "caddy")
    registry.put("followed", "b.log", "nginx")
    with pytest.raises(FormatConflictError, match=r"r is read as 'caddy' of log 'a.log', not as 'nginx'"):
        registry.put("r", "a.log", "nginx")
    with ThreadPoolExecutor(4) as hosts:
        asked = [hosts.submit(registry.put, "race", "c.log", name) for name in ("iis", "caddy") * 2]
        failed = [each.exception() for each in asked]
    assert sum(error is None for error in failed) == 2
    assert all(error is None or isinstance(error, FormatConflictError) for error in failed)
    found = registry.load()
    assert found.keys() == {"r", "followed", "race"}
    assert found["r"] == Entry("a.log", "caddy")
    copies.put(sealed("r", days_ago=0.1))
    age(hdfs, f"{settings.hdfs_ledger_dir}/replays/r.json", 31)
    copies.fold()
    assert registry.load().keys() == {"followed", "race"}


def test_a_replays_format_goes_with_the_days_of_its_lines(hdfs: Hdfs) -> None:
    """Whatever other days HDFS keeps that are older than a month."""
    home, now = "/user/bigdata/kept", datetime.now(UTC)
    settings = parse(webhdfs_url=hdfs.webhdfs_url, hdfs_ledger_dir=f"{home}_ledger", hdfs_logs_dir=home)
    registry, copies = FormatRegistry(hdfs.client, settings.hdfs_ledger_dir), Copies(settings)
    folders = {ago: f"{home}/{now - timedelta(days=ago):%y-%m-%d}" for ago in (80, 60, 40)}
    for ago, folder in folders.items():
        registry.put(f"r{ago}", "a.log", "caddy")
        copies.put(sealed(f"r{ago}", days_ago=0.1))
        age(hdfs, f"{settings.hdfs_ledger_dir}/replays/r{ago}.json", ago)
        hdfs.client.make_folder(folder)
    copies.fold()
    assert (copies.all(), registry.prefixes()) == ([], {"r80", "r60", "r40"})
    hdfs.client.delete(folders[80])  # forgotten
    copies.fold()
    assert registry.prefixes() == {"r60", "r40"}
    copies.put(sealed("later", days_ago=0.1))
    age(hdfs, f"{settings.hdfs_ledger_dir}/replays/later.json", 31)
    copies.fold()
    assert set(copies.sums().ended_s) == {"r60", "r40"}


def test_a_followed_logs_format_goes_when_nothing_can_need_it(
    hdfs: Hdfs, stack: Stack, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    home = "/user/bigdata/spent"
    settings = stack.settings | {
        "webhdfs_url": hdfs.webhdfs_url,
        "hdfs_ledger_dir": f"{home}_ledger",
        "hdfs_logs_dir": home,
    }
    registry, now_s = FormatRegistry(hdfs.client, f"{home}_ledger"), time.time()
    oldest = datetime.fromtimestamp(now_s, UTC) - timedelta(days=60)
    hdfs.client.make_folder(f"{home}/{oldest:%y-%m-%d}")
    store = FollowStore(tmp_path / "state" / "follows")
    ages = {"a": {"a": 100, "a.f2": 50, "a.f3": 1}, "b": {"b": 100}}
    for name, spent in ages.items():
        for prefix in spent:
            registry.put(prefix, f"/{name}", "caddy")
        follow = Follow(name, f"/{name}", f"/{name}", "host", "caddy", "end", 9, is_stopped=True)
        spent_at = {prefix: now_s - 86400 * days for prefix, days in spent.items()}
        taken = {"format_number": len(spent), "taken_format": "caddy", "spent": spent_at}
        store.save(replace(follow, **taken))
    start_replayer(**settings)
    wait_until(lambda: set(registry.load()) == {"a.f2", "a.f3"}, 30, "the entries that go")
    wait_until(lambda: not store.load()[1].spent, 30, "its word on the disk")
    one, other = store.load()
    assert (set(one.spent), one.prefix, one.taken_format) == ({"a.f2", "a.f3"}, "a.f3", "caddy")
    assert (other.prefix, other.taken_format, other.next_number) == ("b.f2", "", 9)


def test_sealed_copies_are_folded_once_by_several_hosts(hdfs: Hdfs) -> None:
    settings = parse(webhdfs_url=hdfs.webhdfs_url, hdfs_ledger_dir="/user/bigdata/folding")
    one, other = Copies(settings), Copies(settings)
    for number, days_ago in enumerate((99, 40, 31, 29)):
        assert one.put(sealed(f"r{number}", days_ago=0.1)) is None  # an old one would not be written
        age(hdfs, f"/user/bigdata/folding/replays/r{number}.json", days_ago)
    with ThreadPoolExecutor(2) as hosts:
        for folding in [hosts.submit(host.fold) for host in (one, other)]:
            folding.result()
    expected = Sums(Digest.of([b"x"] * 6), 3, ("r0", "r1", "r2"))
    assert (set(one.sums().folded), one.sums().replays) == (set(expected.folded), 3)
    assert one.sums().digest == expected.digest
    other.fold()  # finishes what a host that lost the race left
    assert [copy.spec.replay_id for copy in one.all()] == ["r3"]
    assert one.put(sealed("r0", days_ago=99, sealed=False)) is None
    assert one.get("r0") is None, "a host that does not know of the fold must not bring it back"
    records, sums = recorded(settings.model_copy(update={"replays_on": "hdfs"}))
    assert [record.spec.replay_id for record in records] == ["r3"]
    assert (sums.digest, sums.replays) == (expected.digest, 3)
    age(hdfs, "/user/bigdata/folding/replays/r3.json", 31)
    one.fold()
    assert (one.sums().replays, one.sums().digest) == (4, Digest.of([b"x"] * 8))
    names = [entry.name for entry in hdfs.client.list(settings.hdfs_ledger_dir)]
    assert names == ["replays", "sums-000000002.json"]


def test_a_fold_that_was_killed_counts_nothing_twice(hdfs: Hdfs) -> None:
    settings = parse(webhdfs_url=hdfs.webhdfs_url, hdfs_ledger_dir="/user/bigdata/killed")
    copies = Copies(settings)
    path = "/user/bigdata/killed/replays/r.json"
    copies.put(sealed("r", days_ago=0.1))
    age(hdfs, path, 31)
    before = hdfs.client.read(path)
    assert before is not None
    copies.fold()
    hdfs.client.write(path, before)  # as if it was killed before it deleted
    records, sums = recorded(settings.model_copy(update={"replays_on": "hdfs"}))
    assert (records, sums.digest, sums.replays) == ([], Digest.of([b"x"] * 2), 1)
    copies.fold()
    assert (copies.all(), copies.sums().replays) == ([], 1)


def age(hdfs: Hdfs, path: str, days_ago: float) -> None:
    """Have a copy tell that its replay ended so long ago."""
    client = hdfs.client
    copy = json.loads(client.read(path) or b"")
    copy["finished_at"] = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    client.write(path, json.dumps(copy).encode(), overwrite=True)


def copy_of(hdfs: Hdfs, replay_id: str) -> dict[str, Any]:
    """A replay's copy; empty when there is none."""
    try:
        return dict(json.loads(hdfs.client.read(f"{COPIES}/{replay_id}.json") or b"{}"))
    except HdfsError:  # it is away
        return {}


def lines_of_copy(hdfs: Hdfs, replay_id: str) -> int:
    return int(copy_of(hdfs, replay_id).get("lines", 0))
