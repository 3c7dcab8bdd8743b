"""The pipeline on the cluster: a run, then faults while lines are in flight; not a line lost or doubled."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.conftest import ROWS
from tests.cluster.under_test import IN_FLIGHT_LINES, LINES, ClusterUnderTest, Row
from tests.waiting import wait_until

pytestmark = pytest.mark.cluster

STREAMS = ("flume-agent1", "flume-agent2", "replayer", "analytics")
FAULTS: dict[str, Callable[[ClusterUnderTest], object]] = {
    "one broker killed": lambda cluster: cluster.kill("kafka2"),
    "one broker cut off from the others": lambda cluster: cluster.cut_off("kafka3", "kafka"),
    "one DataNode killed": lambda cluster: cluster.kill("datanode2"),
    "NameNode restarted": lambda cluster: cluster.restart("namenode"),
    "the Spark driver killed": lambda cluster: cluster.kill_driver(),
    "the NodeManager with the driver killed": lambda cluster: cluster.kill(cluster.driver()[0]),
    "the active edge host killed": lambda cluster: cluster.kill(active_edge(cluster)),
    "PostgreSQL restarted": lambda cluster: cluster.restart("postgres"),
    "Airflow's scheduler killed": lambda cluster: [cluster.kill("airflow-scheduler"), cluster.mend()],
}
SHORT = ("one broker killed",)
EDGES = ("edge1", "edge2")


def active_edge(cluster: ClusterUnderTest) -> str:
    """The edge host that the replayer runs on."""
    variant = str(cluster.services()["replayer"]["variant"])
    assert variant, "no replayer runs"
    return variant.rpartition("@")[2]


def test_a_run_accounts_for_every_line(cluster: ClusterUnderTest) -> None:
    output = cluster.command("run", "--pace", "max").stdout
    assert (
        f"{LINES:,} lines sent, {LINES:,} in the topic, {LINES:,} in HDFS, {LINES:,} in the windows" in output
    )
    assert "lost 0, doubled 0" in output
    assert "Total requests" in output, "the windows job's tables"
    everywhere = dict.fromkeys(("source", "topic", "hdfs", "windows"), LINES)
    assert cluster.account() == everywhere | {"lost": 0, "doubled": 0, "in_flight": 0, "unknown": 0}


def test_status_tells_of_every_service(cluster: ClusterUnderTest) -> None:
    services = cluster.services()
    assert {name for name, service in services.items() if not service["healthy"]} == set()
    assert set(STREAMS) < services.keys()


def test_only_airflow_is_published_and_on_loopback(cluster: ClusterUnderTest) -> None:
    ports = cluster.docker(
        "ps", "--filter", f"label=com.docker.compose.project={cluster.project}", "--format", "{{.Ports}}"
    )
    published = [part for line in ports.splitlines() for part in line.split(", ") if "->" in part]
    assert published == [f"127.0.0.1:{cluster.environment['LOGPIPE_AIRFLOW_PORT']}->8080/tcp"]


def test_no_container_runs_as_root(cluster: ClusterUnderTest) -> None:
    users = cluster.docker("inspect", "--format", "{{.Config.User}}", *cluster.container_ids()).split()
    assert set(users) == {"logpipe"}


def test_the_namenodes_edits_are_merged_into_an_image(cluster: ClusterUnderTest) -> None:
    page = "https://checkpoints:9868/jmx?qry=Hadoop:service=SecondaryNameNode,name=SecondaryNameNodeInfo"

    def merged_at_ms() -> int:
        return int(json.loads(cluster.asks("checkpoints", page))["beans"][0]["LastCheckpointTime"])

    wait_until(lambda: merged_at_ms() > 0, 180, 2.0)


def test_a_log_is_followed_on_every_edge_host(cluster: ClusterUnderTest) -> None:
    """Each host has a file of that name, which is another log; one of them is rotated."""
    folder = "/tmp/followed"
    log = f"{folder}/access.log"
    line = '127.0.0.1 - - [29/Nov/2026:12:00:00 +0000] "GET /$host/$n HTTP/1.1" 200 5 "-" "-"'
    write = f'for n in $(seq 300); do echo "{line.replace(chr(34), chr(92) + chr(34))}"; done >> {log}'
    before = cluster.account()["source"]
    for host in EDGES:
        cluster.execute(host, f"mkdir -p {folder}; host={host}; {write}")
    cluster.command("follow", "--from", "start", "--", log)
    try:
        cluster.execute(EDGES[0], f"mv {log} {log}.1; host=again; {write}")
        expected = before + 300 * (len(EDGES) + 1)
        everywhere = dict.fromkeys(("source", "topic", "hdfs", "windows"), expected)
        wait_until(lambda: cluster.account().items() >= everywhere.items(), 120, "600 lines and 300 more")
    finally:
        cluster.command("unfollow", "--", log)
    account = cluster.account()
    assert (account["lost"], account["doubled"], account["unknown"]) == (0, 0, 0)


@pytest.mark.usefixtures("kerberos")
def test_what_runs_goes_on_without_the_kdc(
    cluster: ClusterUnderTest, long_form: None, tmp_path: Path
) -> None:
    """Agent 2 brings lines to HDFS, and the windows job commits, by the tickets and tokens that they have."""
    home = "https://namenode:9870/webhdfs/v1/user/bigdata"

    def changed_ms(folder: str) -> int:
        """When a folder in there last got a file, or lost one."""
        answer = json.loads(cluster.asks("edge1", f"{home}/{folder}?op=LISTSTATUS"))
        return max(each["modificationTime"] for each in answer["FileStatuses"]["FileStatus"])

    before = cluster.account()["source"]
    replay = cluster.begin_replay(tmp_path / "output", "speed:400")
    try:
        wait_until(lambda: replay.lines() >= IN_FLIGHT_LINES, 300, "lines in flight", 1.0)
        changed_ms("apache_logs")  # who asks has a ticket from now on
        cluster.kill("kdc")
        first_ms = {
            folder: changed_ms(folder) for folder in ("apache_logs", "apache_logs_checkpoint/windows")
        }
        for folder, at_ms in first_ms.items():  # not by what was under way just then
            wait_until(lambda f=folder, ms=at_ms: changed_ms(f) > ms + 10_000, 120, f"news in {folder}", 1.0)  # type: ignore[misc]
        assert replay.lines() < LINES, "all was sent before"
        cluster.mend()
        _, text = replay.end()
    finally:
        cluster.mend()
    assert "✓ hdfs_partition" in text, text
    after = cluster.account()
    assert after["source"] == before + LINES
    assert (after["lost"], after["doubled"]) == (0, 0), after


@pytest.mark.parametrize("case", FAULTS)
def test_fault(cluster: ClusterUnderTest, case: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Replay, hit, wait until the run has ended, mend, account for every line."""
    if request.config.getoption("--short-faults") and case not in SHORT:
        pytest.skip("not part of the short form")
    before = cluster.account()["source"]
    replay = cluster.begin_replay(tmp_path / "output", "speed:900")
    wait_until(lambda: replay.lines() >= IN_FLIGHT_LINES, 300, 1.0)
    began = time.monotonic()
    try:
        FAULTS[case](cluster)
        _, text = replay.end()
    finally:
        cluster.mend()
    ended_after_s = time.monotonic() - began
    assert "✓ replay" in text, text
    assert "✓ hdfs_partition" in text, text
    after = cluster.account()
    ROWS.append(Row(case, ended_after_s, after["lost"], after["doubled"]))
    assert after["source"] == before + LINES
    assert (after["lost"], after["doubled"]) == (0, 0), after
