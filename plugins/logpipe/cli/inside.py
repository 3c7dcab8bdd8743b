"""The commands on the cluster, from within its network: in a container of Airflow, or on an edge host."""

import os
import time

from logpipe import settings as project_settings
from logpipe.cli.follow import TablesOnHdfs
from logpipe.cli.target import Reachable
from logpipe.clients.airflow import Airflow, AirflowError
from logpipe.clients.errors import ClientError
from logpipe.clients.kerberos import of_hadoop
from logpipe.clients.process_host import Process, ProcessHost
from logpipe.clients.replayer import Replayer
from logpipe.clients.yarn import Yarn
from logpipe.hosts.connections import airflow_of, client
from logpipe.hosts.layout import Layout
from logpipe.hosts.machine.stack import ServiceStatus, StackError
from logpipe.hosts.services import EDGE_HOSTS, PROCESS_HOST, REPLAYER, RESOURCE_MANAGER, YARN_PORT, streams
from logpipe.settings import Settings

AIRFLOW_HOST = "airflow-api-server"
YARN_TIMEOUT_S = 5.0
STOP_DAG = "stop_pipeline"
STOP_TIMEOUT_S = 150.0
STREAMS = {service.name: service for service, _ in streams() if service.on_cluster}
AWAY = ServiceStatus(state="unknown", pid=None, healthy=False)


def at(host: str) -> Settings:
    """The settings of the services on one host of the cluster."""
    return project_settings.parse(host=host)


class InsideTarget(Reachable):
    """The cluster's services by their hosts' names."""

    def airflow(self) -> Airflow:
        """The one API server."""
        return airflow_of(at(AIRFLOW_HOST), Layout.of(self.settings))

    def page(self) -> str:
        """Its address outside."""
        return os.environ.get("AIRFLOW__API__BASE_URL", f"http://{AIRFLOW_HOST}:{self.settings.airflow_port}")

    def replayers(self) -> list[Replayer]:
        """One an edge host; where this is one, its own comes first, which reads this host's files."""
        hosts = sorted(EDGE_HOSTS, key=lambda host: host != self.settings.host)
        return [client(Replayer, REPLAYER, at(host), Layout.of(self.settings)) for host in hosts]

    def windows(self) -> TablesOnHdfs:
        """The tables of the driver on YARN."""
        return TablesOnHdfs(self.settings)

    @property
    def _yarn(self) -> Yarn:
        (host,) = RESOURCE_MANAGER.on_cluster
        known = {"scheme": self.settings.hadoop_scheme} | of_hadoop(self.settings)
        return Yarn([host], YARN_PORT, timeout_s=YARN_TIMEOUT_S, **known)

    def services(self) -> dict[str, ServiceStatus]:
        """The streaming services, each on the host where it runs; containers are the engine's to tell."""
        found: dict[str, ServiceStatus] = {}
        for host in EDGE_HOSTS:
            for state in self._states(host):
                if state.service not in STREAMS or (state.service in found and not state.pid):
                    continue
                found[state.service] = ServiceStatus(
                    state=state.state.lower(),
                    pid=state.pid or None,
                    healthy=bool(state.pid) and STREAMS[state.service].is_ready(at(host)),
                    variant="@".join(filter(None, (state.variant, host))) if state.pid else "",
                    uptime_s=state.uptime_s,
                )
        return {service: found.get(service, AWAY) for service in STREAMS} | {"analytics": self._windows_job()}

    def _states(self, host: str) -> list[Process]:
        try:
            return client(ProcessHost, PROCESS_HOST, at(host), Layout.of(self.settings)).processes()
        except ClientError:
            return []

    def _windows_job(self) -> ServiceStatus:
        try:
            found = self._yarn.newest(self.settings.spark_application)
        except ClientError:
            return AWAY
        if found is None:
            return ServiceStatus(state="stopped", pid=None, healthy=False)
        runs = found.state == "RUNNING"
        return ServiceStatus(
            state=found.state.lower(),
            pid=None,
            healthy=runs,
            variant=found.application_id,
            uptime_s=found.elapsed_ms // 1000 if runs else 0,
        )

    def sending_profile(self) -> str:
        """Of the agent 1 on this edge host."""
        running = {state.service: state.variant for state in self._states(self.settings.host) if state.pid}
        return running.get("flume-agent1") or "durable"

    def up(self) -> int:
        """What runs this is up."""
        return 0

    def stop(self) -> int:
        """Replays, agents and the windows job, each drained, by the DAG that does so."""
        airflow = self.airflow()
        run_id = airflow.trigger(STOP_DAG, {})
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while (state := airflow.run_state(STOP_DAG, run_id)) not in ("success", "failed"):
            if time.monotonic() > deadline:
                raise AirflowError(f"{STOP_DAG} has not ended after {STOP_TIMEOUT_S:.0f} s")
            time.sleep(1)
        for task in airflow.task_states(STOP_DAG, run_id):
            self.console.print(f"{task.task_id}: {task.state} after {task.duration_s or 0:.1f} s")
        return 0 if state == "success" else 1

    def log_names(self) -> list[str]:
        """Those of the programs on an edge host."""
        return list(STREAMS)

    def logs(self, service: str) -> int:
        """Only from outside."""
        raise StackError(
            f"The log of {service} is read from outside: logpipe --target cluster logs {service}"
        )

    def rotate_key(self) -> int:
        """Only from outside."""
        raise StackError("Keys are made from outside: logpipe --target cluster rotate-key")

    def clean(self) -> int:
        """Only from outside."""
        raise StackError("The cluster's data is deleted from outside: logpipe --target cluster clean")

    def what_goes_on(self) -> str:
        """Everything."""
        return "A running replay goes on, and so does the cluster; `make cluster-down` ends them."
