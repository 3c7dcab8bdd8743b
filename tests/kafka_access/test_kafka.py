"""Kafka with TLS, users and rules: all that the pipeline does goes on, and nobody does what is not theirs."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from logpipe.accounting.audit import audit
from logpipe.airflow.hooks.stores import pipeline_at
from logpipe.airflow.operators.kafka_topic import KafkaTopicOperator
from logpipe.clients.kafka import Kafka, KafkaUnreachableError, LoginRefusedError
from logpipe.hosts.environment import service_environment
from logpipe.settings import PROJECT_DIR, Settings
from logpipe.settings.kafka_access import ADMIN, ROLES, Role, password
from logpipe.windows.erase import ErasedTopic, erase_records
from tests.airflow.real_parts import connect_stores
from tests.data_plane import BUNDLED_LINES, DataPlane
from tests.kafka_access.asks import MAY, allowed
from tests.machine import agent
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

AT_ONCE_S = 10.0


@pytest.fixture(scope="module")
def replayed(secured: DataPlane) -> DataPlane:
    replay_id = secured.submit(pace="max")
    secured.await_done(replay_id)
    secured.await_drained()
    return secured


def wrong(secured: DataPlane, folder: Path, role: str) -> Any:
    """The settings with a password that is not that role's."""
    (folder / "password").write_text("not-the-password\n")
    return secured.settings.model_copy(update={"kafka_password_file": str(folder / "password")})


def test_a_replay_is_exact_to_hdfs_and_windows(replayed: DataPlane) -> None:
    found = replayed.account()
    assert (found.source, found.hdfs, found.windows) == (BUNDLED_LINES,) * 3
    assert (found.lost, found.doubled, found.in_flight, found.unknown) == (0, 0, 0, 0)
    audited = audit(replayed.settings)
    assert (audited.lost, audited.doubled) == (0, 0)


def test_no_password_is_on_a_command_line_in_an_environment_or_in_a_log(replayed: DataPlane) -> None:
    settings, layout = replayed.settings, replayed.stack.layout
    words = [password(settings, role) for role in (*ROLES, ADMIN)]
    seen = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            text = f"{process.cmdline()} {process.environ()}"
            seen += str(settings.state_dir) in text
            assert not any(word in text for word in words), process.cmdline()
    assert seen > 6, "the services do not run"
    for path in layout.logs_dir.rglob("*"):
        text = path.read_text(errors="replace")
        assert not any(word in text for word in words), path
    assert all(path.stat().st_mode & 0o077 == 0 for path in layout.kafka_access_dir.iterdir())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_it_does_and_nothing_else(replayed: DataPlane, role: Role) -> None:
    settings = replayed.settings
    assert allowed(settings.kafka_client(role), settings) == MAY[role]


def test_airflow_provisions_and_accounts_by_its_connection(
    replayed: DataPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect_stores(monkeypatch, replayed.settings)
    operator = KafkaTopicOperator(task_id="provision", topic=replayed.settings.topic)
    assert operator.execute({})["created"] is False
    pipeline = pipeline_at("kafka_default", "webhdfs_default")
    client = pipeline.kafka_client("reader")
    assert client["sasl.username"] == "logpipe-airflow"
    assert Kafka.of(pipeline).offsets(replayed.settings.topic).ends


def test_only_who_may_write_the_topic_of_windows_erases_there(replayed: DataPlane, tmp_path: Path) -> None:
    """An edge host of the cluster has no such password: it is told what the topic holds."""
    settings = replayed.settings
    rows = [
        row["key"]
        for each in Kafka.of(settings).records(settings.windows_topic)
        if b'"dimension":"host"' in each.value
        for row in json.loads(each.value)["rows"]
    ]
    host = rows[0]

    def erased_in(settings: Settings) -> ErasedTopic:
        return erase_records(settings, lambda key: "erased" if key == host else key, lambda line: line)[0]

    (tmp_path / "reader.password").write_text(password(settings, "reader"))
    own = settings.model_copy(update={"kafka_password_file": f"{tmp_path}/{{role}}.password"})
    refused = erased_in(own)
    assert refused.records == 0
    assert refused.left > 0
    assert refused.compacted_within_ms == 86_400_000
    done = erased_in(settings)
    assert (done.records > 0, done.left) == (True, 0)


def test_a_wrong_password_is_said_at_once_with_user_and_way_out(replayed: DataPlane, tmp_path: Path) -> None:
    settings = wrong(replayed, tmp_path, "reader")
    began = time.monotonic()
    with pytest.raises(LoginRefusedError) as refused:
        Kafka.of(settings).existing(settings.topic)
    assert time.monotonic() - began < AT_ONCE_S
    text = str(refused.value)
    assert re.search(
        rf"Kafka at {settings.kafka_bootstrap} \(as user logpipe-reader with SCRAM-SHA-512, password from "
        rf"{tmp_path}/password\) .*[Aa]uthentication failed.*put that user's password right",
        text,
    )
    assert "not-the-password" not in text
    with pytest.raises(LoginRefusedError):
        Kafka.of(settings).committed(settings.consumer_group, settings.topic, [0])


def test_a_broker_that_the_authority_does_not_vouch_for_is_not_spoken_to(
    replayed: DataPlane, tmp_path: Path
) -> None:
    from logpipe.hosts import certificates

    certificates.authority(tmp_path / "key", tmp_path / "other.pem")
    settings = replayed.settings.model_copy(update={"kafka_ca_file": str(tmp_path / "other.pem")})
    with pytest.raises(
        LoginRefusedError, match=rf"(?s)certificate.*{tmp_path}/other.pem \(LOGPIPE_KAFKA_CA_FILE"
    ):
        Kafka.of(settings).brokers()


def test_without_a_login_there_is_no_answer(replayed: DataPlane) -> None:
    client = {"bootstrap.servers": replayed.settings.kafka_bootstrap}
    with pytest.raises(KafkaUnreachableError, match="does not answer within 2 s"):
        Kafka(client, 2.0).brokers()


def test_the_windows_job_ends_and_says_that_it_is_refused(replayed: DataPlane, tmp_path: Path) -> None:
    settings = wrong(replayed, tmp_path, "windows").model_copy(update={"spark_ui_port": free_port()})
    inherited = {name: value for name, value in os.environ.items() if name != "HADOOP_USER_NAME"}
    ended = subprocess.run(
        [sys.executable, PROJECT_DIR / "spark_jobs" / "stream_windows.py", "--heap-mb=512"],
        env=inherited | service_environment(settings),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "as user logpipe-windows with SCRAM-SHA-512" in ended.stderr
    assert "not-the-password" not in ended.stderr + ended.stdout


def test_agent_2_says_that_it_is_refused(replayed: DataPlane, tmp_path: Path) -> None:
    from logpipe.hosts.configuration import write_logins
    from logpipe.hosts.layout import Layout

    settings = wrong(replayed, tmp_path, "agent2").model_copy(update={"state_dir": tmp_path / "state"})
    write_logins(settings, Layout.of(settings), "agent2")
    service = agent(2, settings, tmp_path / "agent2.log")
    try:
        service.start(wait=False)
        said = f"Kafka at {settings.kafka_bootstrap} does not let this agent in"
        wait_until(lambda: said in service.log.read_text(), 60, said)
    finally:
        service.end()
    assert "not-the-password" not in service.log.read_text()


def test_the_agents_of_profile_memory_log_in_as_well(replayed: DataPlane) -> None:
    replayed.await_drained()
    before = replayed.account()
    for service in ("flume-agent1", "flume-agent2"):
        replayed.stack.host.client.launch(service, "memory")
    replayed.stack.launch("flume-agent1", "memory")
    replayed.stack.launch("flume-agent2", "memory")
    replayed.await_done(replayed.submit(pace="max", profile="memory"))
    replayed.await_drained()
    after = replayed.account()
    assert after.windows - before.windows == BUNDLED_LINES
    # A record that agent 1's role was let write by hand cannot be told from a replay's lines any more.
    by_hand = before.windows - before.source
    assert (after.lost, after.doubled) == (0, by_hand)
