"""One nameservice of two NameNodes with a shared folder of edits; a person says which is active."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from logpipe import settings as project_settings
from logpipe.clients.errors import UnreachableError
from logpipe.clients.hdfs import storage
from logpipe.hosts import configuration
from logpipe.hosts.environment import SMALL_JAVA, hadoop_class_path
from logpipe.hosts.machine.stack import Stack
from logpipe.hosts.probes import listens
from logpipe.settings import Settings
from tests.machine import Addressed, Service
from tests.ports import free_port, port_settings
from tests.waiting import wait_until

NAMES = ("nn1", "nn2")
_ONE = """
  <property><name>dfs.namenode.rpc-address.logs.{name}</name><value>localhost:{rpc}</value></property>
  <property><name>dfs.namenode.http-address.logs.{name}</name><value>localhost:{http}</value></property>
  <property><name>dfs.namenode.name.dir.logs.{name}</name><value>file://{folder}/{name}</value></property>
"""
_BOTH = """
  <property><name>dfs.nameservices</name><value>logs</value></property>
  <property><name>dfs.ha.namenodes.logs</name><value>nn1,nn2</value></property>
  <property><name>dfs.namenode.shared.edits.dir</name><value>file://{folder}/shared</value></property>
  <property><name>dfs.client.failover.proxy.provider.logs</name>
    <value>org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider</value></property>
  <property><name>dfs.ha.fencing.methods</name><value>shell(/bin/true)</value></property>
"""


@dataclass
class TwoNameNodes(Addressed):
    """They, and a DataNode."""

    settings: Settings
    stack: Stack
    namenodes: dict[str, Service]
    datanode: Service
    active: str = ""

    @classmethod
    def made(cls, folder: Path) -> "TwoNameNodes":
        rpc, http = ({name: free_port() for name in NAMES} for _ in range(2))
        settings = project_settings.parse(
            state_dir=folder / "state",
            hdfs_url="hdfs://logs",
            webhdfs_url=";".join(f"http://localhost:{http[name]}" for name in NAMES),
            **port_settings(),
        )
        stack = Stack(settings)
        configuration.write_all(settings, stack.layout)
        site = stack.layout.conf_dir / "hadoop" / "hdfs-site.xml"
        ours = [_ONE.format(name=name, rpc=rpc[name], http=http[name], folder=folder) for name in NAMES]
        end = "</configuration>"
        site.write_text(site.read_text().replace(end, "".join([*ours, _BOTH.format(folder=folder)]) + end))
        namenodes = {}
        for name in NAMES:
            made = Service.of("namenode", settings, stack.layout.logs_dir / f"{name}.log")
            made.command = (*made.command, "-D", f"dfs.ha.namenode.id={name}")
            made.is_ready = lambda ports=(rpc[name], http[name]): all(listens("localhost", p) for p in ports)
            namenodes[name] = made
        datanode = Service.of("datanode", settings, stack.layout.logs_dir / "datanode.log")
        two = cls(settings, stack, namenodes, datanode)
        datanode.is_ready = two.is_writable
        first, second = NAMES
        run(*namenodes[first].command, "-format", "-nonInteractive")
        shutil.copytree(folder / first, folder / second)
        return two

    @property
    def conf_dir(self) -> Path:
        """What its clients in JVMs are told."""
        return self.stack.layout.conf_dir / "hadoop"

    def is_writable(self) -> bool:
        try:
            return storage(self.settings).capacity_bytes > 0
        except UnreachableError:
            return False

    def start(self) -> "TwoNameNodes":
        for service in (*self.namenodes.values(), self.datanode):
            service.start(wait=False)
        for namenode in self.namenodes.values():
            namenode.await_ready()
        self.activate(NAMES[0])
        self.datanode.await_ready()
        self.stack._make_hdfs_home()
        return self

    def activate(self, name: str) -> None:
        """As a person does, when the other one is no longer."""
        self._admin("-transitionToActive", "--forceactive", name)
        self.active = name
        wait_until(self.is_writable, 60, f"{name} to be active")

    def deactivate(self) -> None:
        """None is active, and both run."""
        self._admin("-transitionToStandby", self.active)

    def kill_active(self) -> str:
        """SIGKILL to the active one; its name."""
        self.namenodes[self.active].kill()
        return self.active

    def other(self) -> str:
        """The one that is not active."""
        return next(name for name in NAMES if name != self.active)

    def _admin(self, *arguments: str) -> None:
        tool = "org.apache.hadoop.hdfs.tools.DFSHAAdmin"
        run(*SMALL_JAVA, *hadoop_class_path(self.stack.layout), tool, *arguments)

    def end(self) -> None:
        for service in (*self.namenodes.values(), self.datanode):
            service.end()


def run(*command: str) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
