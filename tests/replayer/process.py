"""The replayer as a process of its own, a client of its HTTP interface, and the agents that it sends to."""

import base64
import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from logpipe.hosts.layout import USER, Layout
from tests.machine import Kafka, Service, agent, own_settings
from tests.ports import free_port
from tests.waiting import wait_until


@dataclass
class Stack:
    """A broker, and an agent 1 and a topic for each delivery profile."""

    kafka: Kafka
    folder: Path
    name: str
    durable: Service = field(init=False)
    memory: Service = field(init=False)

    def __post_init__(self) -> None:
        self._thrift_port, self._netcat_port = free_port(), free_port()
        for profile in ("durable", "memory"):
            self.kafka.create_topic(self.topic(profile))
        self.durable = self.agent("durable", self.folder, thrift_port=self._thrift_port)
        self.memory = self.agent("memory", self.folder, netcat_port=self._netcat_port)

    @property
    def agents(self) -> tuple[Service, Service]:
        return self.durable, self.memory

    def agent(self, profile: str, folder: Path, **ports: int) -> Service:
        """Agent 1 of a profile, with ports of its own; not started."""
        log = folder / f"agent1-{profile}.log"
        return agent(1, self.kafka.settings, log, profile=profile, topic=self.topic(profile), **ports)

    def topic(self, profile: str) -> str:
        return f"{profile}_{self.name}"

    @property
    def settings(self) -> dict[str, object]:
        """What a replayer has to be told; it asks Kafka about the topic of profile `durable`."""
        return {
            "thrift_port": self._thrift_port,
            "netcat_port": self._netcat_port,
            "kafka_bootstrap": self.kafka.bootstrap,
            "topic": self.topic("durable"),
            "hdfs_ledger_dir": "/user/bigdata/apache_logs_ledger",
        }


class ReplayerProcess:
    def __init__(self, state_dir: Path, overrides: dict[str, object], through: tuple[str, ...] = ()) -> None:
        settings = own_settings(state_dir, **overrides)
        layout = Layout.of(settings)
        layout.make_dirs()
        self.password = layout.secrets()["replayer_password"]
        self.state_dir = state_dir
        self._port = settings.replayer_port
        self.log_path = layout.logs_dir / "replayer.log"
        self.service = Service.of("replayer", settings, self.log_path)
        self.service.command = (*through, *self.service.command)
        self.service.start()
        assert self.service.process is not None
        self.process = self.service.process

    def request(
        self, method: str, path: str, body: Any = None, *, login: str | None = None
    ) -> tuple[int, Any]:
        """Status and JSON body of the answer."""
        login = f"{USER}:{self.password}" if login is None else login
        token = base64.b64encode(login.encode()).decode()
        request = Request(
            f"http://localhost:{self._port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {token}"} if login else {},
            method=method,
        )
        try:
            with urlopen(request, timeout=20) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            return error.code, json.load(error)

    def submit(self, replay_id: str, url: str, **spec: Any) -> dict[str, Any]:
        body = {
            "replay_id": replay_id,
            "url": url,
            "pace": "max",
            "profile": "durable",
            "limit": None,
            **spec,
        }
        status, record = self.request("POST", "/replays", body)
        assert status in (200, 201), record
        return dict(record)

    def record(self, replay_id: str) -> dict[str, Any]:
        return dict(self.request("GET", f"/replays/{replay_id}")[1])

    def wait_state(self, replay_id: str, state: str, deadline_s: float = 30.0) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            record = self.record(replay_id)
            assert record["state"] in ("running", state), record
            return record if record["state"] == state else None

        return wait_until(probe, deadline_s, f"{replay_id} {state}")

    def wait_lines(self, replay_id: str, lines: int, deadline_s: float = 30.0) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            record = self.record(replay_id)
            return record if record["lines"] >= lines else None

        return wait_until(probe, deadline_s, f"{lines} lines of {replay_id}")

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def end(self) -> None:
        self.service.kill()
