"""Launching a Spark streaming job on YARN, and stopping it."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.first_look import FirstLookMixin
from logpipe.airflow.operators.service_launch import ServiceNotHealthyError
from logpipe.airflow.operators.service_stop import ALL_SERVICES
from logpipe.settings import PROJECT_DIR

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.triggers.spark_yarn import SparkYarnTrigger

# The nodes hold the project and its environment at the same place as Airflow's machine.
_PYTHON = str(PROJECT_DIR / ".venv" / "bin" / "python")
_SPARK_JARS = f"local:{files('pyspark')}/jars/*"
_CONNECTOR_JARS = "local:" + str(PROJECT_DIR / "build" / "jars" / "spark") + "/*"
_OVERHEAD_MB = 640  # Python, polars and the JVM's own needs, beside its heap


class SparkYarnOperator(FirstLookMixin):
    """Has a streaming job up on YARN, its driver in the cluster.

    A live application of the same name is left alone, whoever submitted it; else one is submitted through
    the Spark provider's hook, which takes some ten seconds in the worker. What follows is watched through
    the ResourceManager by a trigger.

    With ``supervise`` the task stays, deferred, for as long as the application lives. YARN restarts a
    driver that dies. An application that fails for good or hangs is submitted anew: a heal, told in the log
    and in XCom ``heals``. Mark the task failed or succeeded, and the job is stopped with its batch
    finished; clear it, and the next try takes over what runs.

    Args:
        application: name of the application, one for each checkpoint.
        checkpoint_dir: the query's checkpoint on HDFS.
        heartbeat_path: file on HDFS that a supervised driver must keep touching.
        job: the Python file that is the driver.
        job_settings: environment of the driver, by name.
        hdfs_user: user on HDFS and YARN.
        heap_mb: heap of the driver, and of each executor.
        executors: how many; each has two cores.
        spark_conn_id: the provider's connection, ``yarn`` with ``deploy-mode`` ``cluster``.
        yarn_conn_id: connection to the ResourceManager's web server.
        webhdfs_conn_id: connection to HDFS.
        process_host_conn_id: connection to the process host of the services in ``stop_after``.
        start_timeout_s: the task fails when the driver is not up by then.
        first_look_s: the task keeps its worker this long before it defers.
        supervise: stay for as long as the job runs.
        max_heals: the task fails at more heals than this within ``heal_window_s`` seconds.
        stop_after: task ids of supervising tasks in the same DAG, each with its service, that are down
            before the job is stopped.
    """

    template_fields: Sequence[str] = ("application", "checkpoint_dir", "spark_conn_id", "yarn_conn_id")

    def __init__(
        self,
        *,
        application: str,
        checkpoint_dir: str,
        heartbeat_path: str | None = None,
        job: str = str(PROJECT_DIR / "spark_jobs" / "stream_windows.py"),
        job_settings: Mapping[str, str] | None = None,
        hdfs_user: str = "bigdata",
        heap_mb: int = 1024,
        executors: int = 1,
        spark_conn_id: str = "spark_default",
        yarn_conn_id: str = "yarn_default",
        webhdfs_conn_id: str = "webhdfs_default",
        process_host_conn_id: str = "process_host_default",
        start_timeout_s: float = 180,
        first_look_s: float = 30,
        supervise: bool = False,
        max_heals: int = 5,
        heal_window_s: float = 3600,
        stop_after: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.application = application
        self.checkpoint_dir = checkpoint_dir
        self.heartbeat_path = heartbeat_path
        self.job = job
        self.job_settings = dict(job_settings or {})
        self.hdfs_user = hdfs_user
        self.heap_mb = heap_mb
        self.executors = executors
        self.spark_conn_id = spark_conn_id
        self.yarn_conn_id = yarn_conn_id
        self.webhdfs_conn_id = webhdfs_conn_id
        self.process_host_conn_id = process_host_conn_id
        self.start_timeout_s = start_timeout_s
        self.first_look_s = first_look_s
        self.supervise = supervise
        self.max_heals = max_heals
        self.heal_window_s = heal_window_s
        self.stop_after = dict(stop_after or {})

    def execute(self, context: "Context") -> dict[str, Any]:
        """Submit or reattach, then wait until the driver is up; return the event's payload for XCom."""
        trigger = self._trigger(self._have_live())
        if self.supervise:
            self._supervise(context, trigger)
        return self.execute_complete(context, self.defer_unless_soon(trigger, self.first_look_s))

    def _have_live(self) -> str:
        """Return the id of the live application, submitted if need be."""
        from logpipe.airflow.hooks.yarn import YarnHook

        yarn = YarnHook(self.yarn_conn_id)
        if found := asyncio.run(yarn.live(self.application)):
            self.log.info("Reattached to %s, %s", found[0].application_id, found[0].state)
            return found[0].application_id
        self._submit()
        live = asyncio.run(yarn.live(self.application))
        if not live:
            raise ServiceNotHealthyError(
                f"{self.application} was submitted, and the ResourceManager shows no live application of it"
            )
        for later in live[1:]:  # another task submitted at the same moment: the first one stays
            self.log.warning("Killing %s: %s came first", later.application_id, live[0].application_id)
            asyncio.run(yarn.kill(later.application_id))
        self.log.info("Submitted %s", live[0].application_id)
        return live[0].application_id

    def _submit(self) -> None:
        from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

        SparkSubmitHook(
            conn_id=self.spark_conn_id,
            name=self.application,
            conf=self.configuration(),
            driver_memory=f"{self.heap_mb}m",
            executor_memory=f"{self.heap_mb}m",
            executor_cores=2,
            num_executors=self.executors,
            env_vars={"HADOOP_USER_NAME": self.hdfs_user},
        ).submit(self.job)

    def configuration(self) -> dict[str, str]:
        """Return Spark's settings of the submission."""
        master_env = {
            "PYSPARK_PYTHON": _PYTHON,
            "PYSPARK_DRIVER_PYTHON": _PYTHON,
            **self.job_settings,
        }
        return {
            # The submission ends once YARN has accepted; the application is watched by its id.
            "spark.yarn.submit.waitAppCompletion": "false",
            "spark.yarn.jars": f"{_SPARK_JARS},{_CONNECTOR_JARS}",
            "spark.pyspark.python": _PYTHON,
            "spark.pyspark.driver.python": _PYTHON,
            # A stream runs for months: what counts is how often its driver died in the last hour.
            "spark.yarn.maxAppAttempts": "10",
            "spark.yarn.am.attemptFailuresValidityInterval": "1h",
            "spark.driver.memoryOverhead": f"{_OVERHEAD_MB}",
            "spark.executor.memoryOverhead": f"{_OVERHEAD_MB}",
            "spark.driver.extraJavaOptions": "-XX:MaxMetaspaceSize=256m",
            "spark.dynamicAllocation.enabled": "false",
            "spark.sql.catalogImplementation": "in-memory",
            **{f"spark.yarn.appMasterEnv.{name}": value for name, value in master_env.items()},
        }

    def _trigger(self, application_id: str) -> "SparkYarnTrigger":
        from logpipe.airflow.triggers.spark_yarn import SparkYarnTrigger

        return SparkYarnTrigger(
            application=self.application,
            application_id=application_id,
            checkpoint_dir=self.checkpoint_dir,
            heartbeat_path=self.heartbeat_path,
            yarn_conn_id=self.yarn_conn_id,
            webhdfs_conn_id=self.webhdfs_conn_id,
            process_host_conn_id=self.process_host_conn_id,
            start_timeout_s=self.start_timeout_s,
            stop_after=self.stop_after,
        )

    def _supervise(self, context: "Context", trigger: "SparkYarnTrigger") -> None:
        """Defer to a trigger that belongs to this try."""
        from logpipe.airflow.triggers.ownership import OWNER_KEY

        trigger.supervise = True
        trigger.owner = uuid4().hex
        context["ti"].xcom_push(OWNER_KEY, trigger.owner)
        self.log.info("Supervising %s until it is stopped", trigger.application_id)
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Log and return a good end; a supervised job that ended otherwise is submitted anew.

        Raises:
            ServiceNotHealthyError: the job does not run, or needed too many heals.
        """
        from logpipe.airflow.triggers.spark_yarn import SparkYarnEvent

        outcome = SparkYarnEvent.from_payload(event)
        self.log.info("%s is %s: %s", outcome.application_id, outcome.state, outcome.reason)
        if outcome.healthy or (outcome.stopped and self.supervise):
            return outcome.to_payload()
        if not self.supervise:
            raise ServiceNotHealthyError(
                f"{outcome.application_id} ({self.application}) does not run after {outcome.waited_s} s: "
                f"{outcome.reason}. Its log: `yarn logs`, or the ResourceManager's page"
            )
        self._heal(context, outcome.application_id, outcome.reason)
        self._supervise(context, self._trigger(self._have_live()))
        return outcome.to_payload()

    def _heal(self, context: "Context", application_id: str, reason: str) -> None:
        """Count a heal, and have the application that hangs gone."""
        from logpipe.airflow.hooks.yarn import YarnHook
        from logpipe.airflow.triggers.supervision import HEALS_KEY

        now = datetime.now(UTC)
        heal = {"at": now.isoformat(timespec="seconds"), "reason": reason, "application": application_id}
        heals: list[dict[str, str]] = context["ti"].xcom_pull(task_ids=self.task_id, key=HEALS_KEY) or []
        heals.append(heal)
        context["ti"].xcom_push(HEALS_KEY, heals)
        since = now - timedelta(seconds=self.heal_window_s)
        count = sum(datetime.fromisoformat(past["at"]) >= since for past in heals)
        if count > self.max_heals:
            raise ServiceNotHealthyError(
                f"{count} heals of {self.application} in {self.heal_window_s:.0f} s, "
                f"the last one since {reason}"
            )
        self.log.warning("Healing %s: %s", application_id, reason)
        yarn = YarnHook(self.yarn_conn_id)
        if asyncio.run(yarn.application(application_id)).live:
            asyncio.run(yarn.kill(application_id))


class SparkYarnStopOperator(BaseOperator):
    """Stops a streaming job on YARN with its batch finished. A task that supervises it then succeeds.

    Args:
        application: name of the application.
        checkpoint_dir: the query's checkpoint on HDFS.
        service: what it is called where one service of several is picked.
        only: skip unless this is ``service``, or ``all``.
        yarn_conn_id: connection to the ResourceManager's web server.
        webhdfs_conn_id: connection to HDFS.
        stop_timeout_s: it is killed when it has not ended by then.
    """

    template_fields: Sequence[str] = ("application", "checkpoint_dir", "only")

    def __init__(
        self,
        *,
        application: str,
        checkpoint_dir: str,
        service: str = "analytics",
        only: str = ALL_SERVICES,
        yarn_conn_id: str = "yarn_default",
        webhdfs_conn_id: str = "webhdfs_default",
        stop_timeout_s: float = 90,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.application = application
        self.checkpoint_dir = checkpoint_dir
        self.service = service
        self.only = only
        self.yarn_conn_id = yarn_conn_id
        self.webhdfs_conn_id = webhdfs_conn_id
        self.stop_timeout_s = stop_timeout_s

    def execute(self, context: "Context") -> list[str]:
        """Return the ids of the applications that were stopped, none when the job did not run.

        Raises:
            AirflowSkipException: another service is to be stopped.
        """
        if self.only not in {ALL_SERVICES, self.service}:
            raise AirflowSkipException(f"Only {self.only} is to be stopped")
        return asyncio.run(self._stop())

    async def _stop(self) -> list[str]:
        from logpipe.airflow.hooks.spark_application import SparkApplicationHook

        job = SparkApplicationHook(
            self.application, self.checkpoint_dir, self.yarn_conn_id, self.webhdfs_conn_id
        )
        running = await job.find()
        if running is None:
            self.log.info("%s does not run", self.application)
            return []
        clean = await job.stop(running.application_id, self.stop_timeout_s)
        self.log.info("%s %s", running.application_id, "stopped" if clean else "was killed: it did not stop")
        return [running.application_id]
