"""Whether a service does its work, asked from outside as its users would.

A probe is data, so that one definition serves this machine, where Python asks, and the containers of the
cluster, whose images hold no Python: there it is a line of shell.
"""

import re
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from shlex import quote
from typing import Any

from logpipe.clients.errors import ClientError
from logpipe.clients.http import HttpService
from logpipe.clients.kerberos import of_hadoop
from logpipe.settings import Settings
from logpipe.settings.kafka_access import ADMIN

TIMEOUT_S = 3.0


def _number(settings: Settings, port: str | int) -> int:
    return port if isinstance(port, int) else settings.port(port)


def listens(host: str, port: int, greeting: str = "", timeout_s: float = TIMEOUT_S) -> bool:
    """Whether a port takes connections, and greets as it should."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            return connection.recv(len(greeting)).decode(errors="replace") == greeting
    except OSError:
        return False


class Probe(ABC):
    """One question that a service answers when it does its work."""

    @abstractmethod
    def holds(self, settings: Settings) -> bool:
        """Ask the service at the settings' host."""

    @abstractmethod
    def shell(self, settings: Settings, host: str) -> str:
        """The same as a command of bash and curl, its exit status the answer; empty where there is none.

        Args:
            settings: have the ports.
            host: as the shell shall expand it.
        """


@dataclass(frozen=True)
class Http(Probe):
    """A page is there.

    Attributes:
        port: name of a setting, or a number where nobody sets it.
        path: with a query, if any.
        pattern: a line of the page matches it; in the syntax that Python and ``grep -E`` share.
        timeout_s: for the answer.
    """

    port: str | int
    path: str
    pattern: str = ""
    timeout_s: float = TIMEOUT_S

    def holds(self, settings: Settings) -> bool:
        """Get the page."""
        scheme, known = self._way(settings)
        service = HttpService(
            [settings.host], _number(settings, self.port), timeout_s=self.timeout_s, scheme=scheme, **known
        )
        try:
            answer = service.call("GET", self.path)
        except ClientError:
            return False
        return answer.is_success and bool(re.search(self.pattern, answer.text, re.MULTILINE))

    def shell(self, settings: Settings, host: str) -> str:
        """Get the page with curl."""
        scheme, _ = self._way(settings)
        url = f'"{scheme}://{host}:{_number(settings, self.port)}"{quote(self.path)}'
        # Without -q: a grep that ends early makes curl fail. The engine ends what takes too long.
        look = f"| grep -E {quote(self.pattern)} " if self.pattern else ""
        proof = " --negotiate -u : --cacert /run/secrets/ca.pem" if scheme == "https" else ""
        return f"curl -fs{proof} {url} {look}> /dev/null"

    def _way(self, settings: Settings) -> tuple[str, dict[str, Any]]:
        """The scheme, and what the client takes besides."""
        return "http", {}


class Hadoop(Http):
    """A page of HDFS's or YARN's, which may be there for who proves who it is, by https."""

    def _way(self, settings: Settings) -> tuple[str, dict[str, Any]]:
        return settings.hadoop_scheme, of_hadoop(settings)


@dataclass(frozen=True)
class Tcp(Probe):
    """A port takes connections, and greets where it should."""

    port: str
    greeting: str = ""

    def holds(self, settings: Settings) -> bool:
        """Connect, and read the greeting."""
        return listens(settings.host, settings.port(self.port), self.greeting)

    def shell(self, settings: Settings, host: str) -> str:
        """Connect with bash."""
        connect = f'exec 3<> "/dev/tcp/{host}/{settings.port(self.port)}"'
        read = f"read -r -t {TIMEOUT_S:.0f} -N {len(self.greeting)} line <&3"
        return f"{connect} && {read} && [[ $line == {quote(self.greeting)} ]]" if self.greeting else connect


@dataclass(frozen=True)
class KafkaMetadata(Probe):
    """A broker answers with its metadata."""

    def holds(self, settings: Settings) -> bool:
        """Ask for the list of brokers."""
        from logpipe.clients.kafka import Kafka  # where nobody asks, it is not loaded

        try:
            return Kafka.of(settings, TIMEOUT_S, ADMIN).brokers() > 0  # who is there before all others
        except ClientError:
            return False

    def shell(self, settings: Settings, host: str) -> str:
        """Nothing: a JVM that asks costs seconds. Its open port stands for it."""
        return ""


@dataclass(frozen=True)
class Command(Probe):
    """A program of the container says so; there is no such service on one machine."""

    command: str

    def holds(self, settings: Settings) -> bool:
        """Never: nothing of this kind runs here."""
        return False

    def shell(self, settings: Settings, host: str) -> str:
        """The command."""
        return self.command
