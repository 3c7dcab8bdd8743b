"""A service in one's own hands, in place of the process host's: with another environment, to see it die."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests import machine
from tests.data_plane import DataPlane
from tests.machine import Service
from tests.waiting import wait_until

HALTED = 99  # exit status of an agent that met its instant
SEEN_S = 120.0


@contextmanager
def instead_of(plane: DataPlane, service: str) -> Iterator[None]:
    """While the process host's service is down; it is back behind that."""
    state = wait_until(lambda: plane.process(service), SEEN_S)
    plane.stack.host.client.stop(state.service, state.variant)
    try:
        yield
    finally:
        plane.stack.host.client.start(state.service, state.variant)


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """A process of one's own, killed at the end if it still runs."""
    try:
        yield service.start(wait=False)
    finally:
        service.kill(signal.SIGKILL)


def agent2(plane: DataPlane, fault: str) -> Service:
    """An agent 2 that meets a fault."""
    return machine.agent(2, plane.settings, plane.stack.layout.logs_dir / "own-agent2.log", fault=fault)


def replayer(plane: DataPlane, thrift_port: int) -> Service:
    """A replayer that sends to another port."""
    settings = plane.settings.model_copy(update={"thrift_port": thrift_port})
    return Service.of("replayer", settings, plane.stack.layout.logs_dir / "own-replayer.log")
