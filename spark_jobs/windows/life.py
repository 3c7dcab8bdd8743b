"""The job's life: start, wait for what is away, run the one query, stop with the batch finished."""

import logging
import os
import signal
import sys
import threading
import time

from confluent_kafka import KafkaException
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from logpipe import settings
from logpipe.clients.kafka import Kafka, LoginRefusedError, TopicError
from logpipe.windows.commit import Commit
from windows import options as job_options
from windows import session, versions, warm_up
from windows.errors import CutError, WindowsError
from windows.hdfs import Hdfs
from windows.options import Options
from windows.patience import Patience, first_line, is_passing
from windows.progress import Progress
from windows.source import start_query
from windows.steps import Steps, StoppingError, topic_was_replaced
from windows.store import CommitLog
from windows.topics import make_output

log = logging.getLogger("windows")

STOP_FILE = "stop"
STOP_DEADLINE_S = 20.0
END_DEADLINE_S = 10.0
KAFKA_TIMEOUT_S = 10.0
TIDY_INTERVAL_S = 30.0
IDLE_TIDY_INTERVAL_S = 300.0
RETRY_S = 2.0
_LOSS = ("OffsetOutOfRange", "LogTruncation", "KAFKA_DATA_LOSS")  # in the errors of Spark and its consumer


class Life:
    """Runs the job on a Spark session and HDFS that are there, until it is told to stop."""

    def __init__(self, options: Options, patience: Patience, spark: SparkSession, hdfs: Hdfs) -> None:
        self._options = options
        self._patience = patience
        self._spark = spark
        self._hdfs = hdfs
        self._kafka = Kafka(options.kafka_client, KAFKA_TIMEOUT_S, options.kafka_known_as)
        self._commits: CommitLog
        self._progress = Progress(hdfs, options, self._kafka)
        self._loss: Exception | None = None
        self._stop_file = f"{options.checkpoint_url}/{STOP_FILE}"

    def run(self) -> None:
        """Run to the end.

        Raises:
            WindowsError: the job can't go on.
        """
        commit = self._first_commit()
        if commit is None:
            return
        self._patience.ask(f"Kafka at {self._options.bootstrap}", self._make_outputs)
        self._drop_old_stop_file()
        while not self._patience.stopping():
            steps = Steps(self._hdfs, self._commits, self._kafka, self._options, commit)
            try:
                self._run_query(steps)
            except StoppingError:
                return
            except (OSError, TopicError, KafkaException, Py4JError, PySparkException) as error:
                self._go_on_after(error, steps)
            # Taken over anew: what the failed query may still be writing can't be committed any more.
            topic_id = commit.topic_id
            again = self._patience.ask("HDFS", lambda topic_id=topic_id: self._take_over(topic_id))  # type: ignore[misc]
            if again is None:
                return
            commit = again

    def _first_commit(self) -> Commit | None:
        """Take the checkpoint over, once the topic is there; None when told to stop before."""
        options, patience = self._options, self._patience
        if patience.ask(f"Kafka at {options.bootstrap}", self._log_in) is None:
            return None
        known = patience.ask("HDFS", lambda: (self._log().store.commit(),))
        if known is not None and known[0] is not None:
            self._check_parameters(known[0])
        topic_id = patience.ask(
            f"Kafka at {options.bootstrap}",
            self._topic_id,
            f"Topic {options.topic} does not exist: waiting for it",
        )
        if topic_id is None:
            return None
        commit = patience.ask("HDFS", lambda: self._take_over(topic_id))
        if commit is not None:
            self._check_parameters(commit)
            if commit.topic_id != topic_id:
                raise WindowsError(topic_was_replaced(options, commit.topic_id, topic_id))
        return commit

    def _log_in(self) -> bool:
        """Ask Kafka as whom it knows this job: the clients that do the work wait where they are refused.

        Raises:
            WindowsError: it is refused.
        """
        try:
            return self._kafka.brokers() > 0
        except LoginRefusedError as error:
            raise WindowsError(str(error)) from None

    def _log(self) -> CommitLog:
        return CommitLog(self._hdfs, self._options.checkpoint_url, self._options.windows_url)

    def _take_over(self, topic_id: str) -> Commit:
        """Become the checkpoint's one writer."""
        first = Commit(step=0, kind="start", parameters=self._options.fixed(), topic_id=topic_id)
        self._commits = self._log()
        return self._commits.take_over(lambda: first, self._patience.stopping)

    def _topic_id(self) -> str | None:
        topic = self._kafka.describe(self._options.topic)
        if topic is None:
            self._progress.waiting(f"topic {self._options.topic}, which does not exist")
            return None
        return topic.topic_id

    def _check_parameters(self, commit: Commit) -> None:
        wanted = self._options.fixed()
        changed = [
            f"{name}={value}, now asked {wanted[name]}"
            for name, value in commit.parameters.items()
            if wanted[name] != value
        ]
        if changed:
            raise WindowsError(
                f"The checkpoint {self._options.checkpoint_url} was made with {', '.join(changed)}: start "
                "with the old value, or count the topic anew in new folders: LOGPIPE_HDFS_CHECKPOINT_DIR and "
                "LOGPIPE_HDFS_WINDOWS_DIR (--checkpoint-dir, --windows-dir)"
            )

    def _make_outputs(self) -> bool:
        options = self._options
        replicas = self._kafka.existing(options.topic).replication
        for name in (options.windows_topic, options.dead_letters_topic):
            make_output(self._kafka, name, replicas, options.keep_days)
        return True

    def _drop_old_stop_file(self) -> None:
        found = self._patience.ask("HDFS", lambda: self._hdfs.list(self._options.checkpoint_url))
        if STOP_FILE not in [entry.name for entry in found or []]:
            return
        self._hdfs.delete(self._stop_file)
        attempt = os.environ.get("CONTAINER_ID", "").rsplit("_", 2)[-2:-1]
        if attempt and int(attempt[0]) > 1:  # it was meant for the attempt before, on YARN
            self._patience.request_stop()
        else:
            log.warning("Removed %s, which asked a former run to stop", self._stop_file)

    def _run_query(self, steps: Steps) -> None:
        """Run the query until it fails or the job is told to stop."""
        steps.recover()
        steps.mend(self._loss)
        self._loss = None
        query = start_query(self._spark, self._options, steps.query_folder, steps.starts(), steps.count_batch)
        log.info("Reading topic %s", self._options.topic)
        try:
            self._follow(query, steps)
        finally:
            self._stop_query(query, steps)

    def _follow(self, query: StreamingQuery, steps: Steps) -> None:
        """Do what falls due between the batches."""
        tidied_at, tidied_step = time.monotonic(), steps.commit.step
        while not self._patience.pause(1.0):
            if not query.isActive:
                raise query.exception() or WindowsError("The query ended without an error")
            self._commits.beat()
            self._progress.report(steps)
            steps.print_later()
            if self._hdfs.exists(self._stop_file):
                log.info("%s asks to stop", self._stop_file)
                self._hdfs.delete(self._stop_file)
                self._patience.request_stop()
                return
            if not query.status["isDataAvailable"]:
                steps.close_if_idle()
            busy = steps.commit.step != tidied_step
            if time.monotonic() - tidied_at > (TIDY_INTERVAL_S if busy else IDLE_TIDY_INTERVAL_S):
                tidied_step = steps.commit.step
                steps.tidy()
                tidied_at = time.monotonic()

    def _stop_query(self, query: StreamingQuery, steps: Steps) -> None:
        """Stop with the running batch finished, where the JVM still answers."""
        if not session.jvm_is_alive(self._spark):
            return
        finished = steps.stop(STOP_DEADLINE_S)
        if self._patience.stopping():
            self._spark.sparkContext.setLogLevel("OFF")  # that the next batch is refused is no news now
        try:
            query.stop()
        except Py4JJavaError as error:
            log.warning("The query did not stop cleanly: %s", first_line(error))
        if self._patience.stopping():
            when = "after" if finished else "in the batch after"
            log.info("Stopped %s batch %d: %d lines", when, steps.commit.batch_id, steps.commit.lines)
            self._progress.stopped(steps)

    def _go_on_after(self, error: Exception, steps: Steps) -> None:
        """Wait a little when a service is away.

        Raises:
            WindowsError: waiting does not help.
        """
        if not session.jvm_is_alive(self._spark):
            raise WindowsError("Spark's JVM is gone: killed, or out of memory (--heap-mb)") from None
        cause = steps.failure or error
        if isinstance(cause, StoppingError):
            return
        if isinstance(cause, WindowsError):
            raise cause from None
        if isinstance(cause, CutError) or any(word in str(error) for word in _LOSS):
            log.warning("Kafka has lost lines, looking for where to go on: %s", first_line(cause))
            self._loss = error
            self._patience.pause(RETRY_S)
            return
        if not (is_passing(cause) or is_passing(error)):
            raise error
        log.warning("A service is away, going on from the last commit when it is back: %s", first_line(cause))
        self._patience.pause(RETRY_S)


def _connect(spark: SparkSession, options: Options) -> Hdfs:
    hdfs = Hdfs(spark, options.hdfs_url, options.replication)
    hdfs.make_folder(options.checkpoint_url)
    hdfs.make_folder(options.windows_url)
    return hdfs


def _end(spark: SparkSession) -> None:
    """End Spark, without waiting long for services that are away: what is committed is committed."""
    if not session.jvm_is_alive(spark):
        return
    impatience = threading.Timer(END_DEADLINE_S, os._exit, (0,))
    impatience.daemon = True
    impatience.start()
    try:
        spark.stop()
    except (OSError, Py4JError) as error:
        log.warning("Spark did not end cleanly: %s", first_line(error))
    impatience.cancel()


def run(options: Options, patience: Patience) -> None:
    """Start Spark and run the job.

    Raises:
        WindowsError: the job can't start or go on.
    """
    jars = versions.check(options.jars_dir)
    began = time.monotonic()
    spark = session.start(options, jars)
    try:
        master = spark.sparkContext.master
        log.info("Spark %s is up after %.1f s, master %s", spark.version, time.monotonic() - began, master)
        warm_up.begin(spark, options)
        hdfs = patience.ask("HDFS", lambda: _connect(spark, options))
        if hdfs is not None:
            Life(options, patience, spark, hdfs).run()
    finally:
        _end(spark)


def main(arguments: list[str]) -> int:
    """Run the job; the result is the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("py4j").setLevel(logging.ERROR)
    try:
        options = job_options.from_arguments(arguments, settings.load())
    except (settings.SettingsError, job_options.OptionError) as error:
        log.error("%s", error)
        return 2
    patience = Patience()
    signal.signal(signal.SIGTERM, patience.request_stop)
    signal.signal(signal.SIGINT, patience.request_stop)
    try:
        run(options, patience)
    except WindowsError as error:
        log.error("%s", error)
        return 1
    return 0
