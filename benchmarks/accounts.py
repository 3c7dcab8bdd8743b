"""What the kernel has accounted to the services of the copy that ``LOGPIPE_…`` chooses."""

import psutil

from logpipe import settings
from logpipe.clients.process_host import ProcessHost
from logpipe.hosts.connections import client
from logpipe.hosts.layout import Layout
from logpipe.hosts.services import PROCESS_HOST


def processes() -> list[psutil.Process]:
    """The process host, and all below it."""
    root = psutil.Process(int((Layout.of(settings.load()).state_dir / "supervisord.pid").read_text()))
    return [root, *root.children(recursive=True)]


def spark_workers() -> list[psutil.Process]:
    """The Python workers of the windows job, which count lines."""
    return [each for each in processes() if "pyspark.daemon" in each.parent().cmdline()]


def memory_mib() -> float:
    """Proportional set size of all of them."""
    total = 0
    for process in processes():
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def services_cpu_s() -> dict[str, float]:
    """CPU seconds of each service so far, the processes that have ended among them."""
    current = settings.load()
    states = client(ProcessHost, PROCESS_HOST, current, Layout.of(current)).processes()
    return {state.service: tree_cpu_s(psutil.Process(state.pid)) for state in states if state.pid}


def tree_cpu_s(root: psutil.Process) -> float:
    """User and system time of a process, of those below it, and of those that these have waited for."""
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue  # it ended meanwhile: its parent has its time
    return total
