"""Faults: what is done to a service, and seeded sequences of it at random moments."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations

from tests.data_plane import DataPlane
from tests.waiting import wait_until

SERVICES = ("replayer", "flume-agent1", "flume-agent2", "kafka", "namenode", "datanode", "analytics")
KINDS = ("SIGKILL", "SIGKILL", "SIGTERM", "SIGSTOP", "restart")
SENDERS = ("flume-agent1", "kafka", "replayer")
LEAST, MOST = 10, 30
COMES_BACK_S = 90.0


@dataclass(frozen=True)
class Step:
    """One fault, so long after the sequence's beginning; SIGSTOP and restart hold it down for a while."""

    at_s: float
    service: str
    kind: str
    hold_s: float

    def __str__(self) -> str:
        held = f" for {self.hold_s:.0f} s" if self.kind in ("SIGSTOP", "restart") else ""
        return f"{self.at_s:5.1f} s {self.service} {self.kind}{held}"


def sequence(seed: int, most: int = MOST) -> list[Step]:
    """The steps of a seed; with a lower ``most`` the first ones of the same."""
    chance = random.Random(seed)
    steps: list[Step] = []
    at_s = 0.0
    for _ in range(chance.randint(LEAST, MOST)):
        at_s += chance.choice((0.0, chance.uniform(0, 2), chance.uniform(0, 6)))
        steps.append(Step(at_s, chance.choice(SERVICES), chance.choice(KINDS), chance.choice((1, 3, 8, 15))))
    return steps[:most]


def campaign(seed: int, rounds: int = 2) -> list[Step]:
    """SIGKILL of agent 1, broker and replayer, each alone and each two of them at the same moment."""
    chance = random.Random(seed)
    one = [(service,) for service in SENDERS]
    kills: list[tuple[str, ...]] = [*one, *combinations(SENDERS, 2)] * rounds
    chance.shuffle(kills)
    steps: list[Step] = []
    at_s = 0.0
    for services in kills:
        at_s += chance.uniform(2, 9)
        steps += [Step(at_s, service, "SIGKILL", 0) for service in services]
    return steps


def run(plane: DataPlane, steps: list[Step]) -> None:
    """Do the steps, each at its time whatever the others do; returns when nothing is held down any more."""
    began = time.monotonic()
    quiet = threading.Event()

    def at_its_time(step: Step) -> None:
        quiet.wait(max(0.0, began + step.at_s - time.monotonic()))
        apply(plane, step)

    with ThreadPoolExecutor(len(steps)) as pool:
        for done in [pool.submit(at_its_time, step) for step in steps]:
            done.result()


def apply(plane: DataPlane, step: Step) -> None:
    """Hit a service; one that is just down is hit when it is back."""
    if step.kind == "restart":
        restart(plane, step.service, step.hold_s)
    elif step.kind == "SIGSTOP":
        hold(plane, step.service, step.hold_s)
    else:
        with suppress(ProcessLookupError):  # another step was faster
            plane.signal(step.service, getattr(signal, step.kind))


def hold(plane: DataPlane, service: str, seconds: float) -> None:
    """SIGSTOP, and SIGCONT after a while unless somebody ended the process before."""
    with suppress(ProcessLookupError):
        pid = plane.signal(service, signal.SIGSTOP)
        threading.Event().wait(seconds)
        os.kill(pid, signal.SIGCONT)


def restart(plane: DataPlane, service: str, down_s: float) -> None:
    """Have the process host stop and start a service, as its operator would."""
    state = wait_until(lambda: plane.process(service), COMES_BACK_S)
    plane.stack.host.client.stop(state.service, state.variant)
    threading.Event().wait(down_s)
    plane.stack.host.client.start(state.service, state.variant)
