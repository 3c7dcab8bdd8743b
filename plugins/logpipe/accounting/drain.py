"""Says what is still on its way between the sources and the two ends, HDFS and windows."""

import re

import httpx

from logpipe.accounting.topic import consumer_lag, end_offsets
from logpipe.accounting.windows import covered_offsets
from logpipe.settings import Settings

TIMEOUT_S = 3.0
_CLIENT = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
_HELD = re.compile(
    r'^flume_channel_Event(Put|Take)SuccessCount\{component="memory"[^}]*\} (\S+)$', re.MULTILINE
)


def held_events(settings: Settings, agent: int) -> int:
    """Lines in the memory channel of agent 1 or 2; 0 when it has no such channel or does not run."""
    port = settings.agent1_metrics_port if agent == 1 else settings.agent2_metrics_port
    try:
        text = _CLIENT.get(f"http://{settings.host}:{port}/metrics").text
    except httpx.HTTPError:
        return 0
    counts = {kind: float(value) for kind, value in _HELD.findall(text)}
    return int(counts.get("Put", 0) - counts.get("Take", 0))


def undrained(settings: Settings) -> str:
    """What has not arrived yet, for a person; empty when all has.

    Raises:
        TopicError, WindowsError: Kafka, or HDFS, does not answer.
    """
    if held := held_events(settings, 1):
        return f"agent 1 holds {held} lines"
    if lag := sum(consumer_lag(settings).values()):
        return f"agent 2 is {lag} records behind the topic's end"
    if held := held_events(settings, 2):
        return f"agent 2 holds {held} lines"
    covered = covered_offsets(settings.webhdfs_url, settings.hdfs_checkpoint_dir, user=settings.hdfs_user)
    behind = sum(
        max(0, end - covered.get(partition, first))
        for partition, (first, end) in end_offsets(settings).items()
    )
    return f"the windows are {behind} records behind the topic's end" if behind else ""
