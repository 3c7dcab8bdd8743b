"""What is refused before anything starts, and what a commit holds."""

import json
import re
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from logpipe.contracts.chain import Mark
from logpipe.digest import Digest
from logpipe.settings import Settings
from logpipe.windows.commit import Commit
from windows.errors import WindowsError
from windows.options import OptionError, from_arguments
from windows.patience import Patience, is_passing
from windows.store import Owner
from windows.versions import VersionError, check


def test_defaults_are_the_settings() -> None:
    options = from_arguments([], Settings(kafka_port=19092, topic="t", window_s=30))
    assert (options.bootstrap, options.topic, options.windows_topic) == ("localhost:19092", "t", "t_windows")
    assert (options.window_s, options.slide_s, options.watermark_s) == (30, 30, 5)
    assert from_arguments(["--time", "event"], Settings()).watermark_s == 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--window-s", "0"], "--window-s is 0, expected a number from 1 on"),
        (["--slide-s", "7"], "--slide-s is 7, expected a divisor of the window of 60 s"),
        (["--hdfs-url", "/a"], "--hdfs-url is /a, expected hdfs://host:port"),
        (["--windows-dir", "w"], "--windows-dir is w, expected an absolute path"),
        (["--checkpoint-dir", "/c", "--windows-dir", "/c/w"], "expected a folder outside of /c"),
        (["--windows-topic", "apache_logs"], "expected three topics with three names"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        from_arguments(arguments, Settings())


def jars(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / f"{name}.jar").touch()
    return folder


FITTING = (
    "spark-sql-kafka-0-10_2.13-4.2.0", "spark-token-provider-kafka-0-10_2.13-4.2.0", "kafka-clients-3.9.2",
    "commons-pool2-2.13.1",
)  # fmt: skip


def test_fitting_versions(tmp_path: Path) -> None:
    assert len(check(jars(tmp_path, *FITTING), "4.2.0")) == 4


@pytest.mark.parametrize(
    ("names", "pyspark_version", "message"),
    [
        ((), "4.2.0", "no jar of spark-sql-kafka"),
        (FITTING, "4.3.0", "PySpark is 4.3.0, its Kafka connector 4.2.0"),
        (
            (*FITTING[:2], "kafka-clients-4.4.0", FITTING[3]),
            "4.2.0",
            "needs kafka-clients 3.9.2, .* holds 4.4.0",
        ),
        ((*FITTING, "kafka-clients-4.4.0"), "4.2.0", r"2 versions \(3.9.2, 4.4.0\) of kafka-clients"),
    ],
)
def test_versions_that_do_not_fit(
    tmp_path: Path, names: tuple[str, ...], pyspark_version: str, message: str
) -> None:
    with pytest.raises(VersionError, match=message):
        check(jars(tmp_path, *names), pyspark_version)


def test_a_commit_is_what_its_json_says() -> None:
    commit = Commit(
        step=3, kind="batch", parameters={"window_s": 60}, topic_id="x", batch_id=2, offsets={0: 5, 11: 7},
        newest_ms={0: 9},
        watermark_ms=5, marks={(0, "a"): Mark(7, 8, Digest(1, 2, 3))}, anonymous=Digest(1, 0, 2**64 - 1),
        expires=("1995-07-01",), reset_step=2, hash_sum=2**64 - 1, expired=Digest(1, 2, 3),
    )  # fmt: skip
    assert Commit.from_json(commit.to_json()) == commit


@pytest.mark.parametrize("version", [1, 2, 4])
def test_a_commit_of_another_version_is_refused(version: int) -> None:
    values = json.loads(Commit(3, "batch", {}, "x").to_json())
    with pytest.raises(WindowsError, match="another version of the windows job; give a new --checkpoint-dir"):
        Commit.from_json(json.dumps(values | {"format": version}))


def test_owner_knows_the_dead_from_the_living() -> None:
    me = Owner.this_process()
    assert me.is_dead() is False
    assert Owner(me.host, me.process_space, me.pid, "another start").is_dead() is True
    assert Owner(me.host, me.process_space, 2**22 + 1, "x").is_dead() is True
    assert Owner("elsewhere.example", me.process_space, 1, "x").is_dead() is None


def test_which_errors_pass() -> None:
    assert is_passing(ConnectionRefusedError("Connection refused"))
    assert is_passing(KafkaException(KafkaError(KafkaError._TRANSPORT)))
    assert is_passing(TimeoutError())
    assert is_passing(OSError("Failed on local exception: java.io.IOException: Broken pipe"))
    assert not is_passing(WindowsError("Connection refused"))
    assert not is_passing(ValueError("wrong"))


def test_patience_ends_with_a_stop() -> None:
    patience = Patience()
    answers = iter([None, None, 5])
    assert patience.ask("x", lambda: next(answers)) == 5
    patience.request_stop()
    assert patience.ask("x", lambda: None) is None
    with pytest.raises(WindowsError, match="HDFS refuses: denied"):
        Patience().ask("HDFS", lambda: (_ for _ in ()).throw(PermissionError("denied")))
