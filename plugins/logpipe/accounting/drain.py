"""Says what is still on its way between the sources and the two ends, HDFS and windows."""

import re
from contextlib import closing

import httpx

from logpipe.accounting import topic
from logpipe.accounting.chain import ChainReader
from logpipe.accounting.windows import read_commit_totals
from logpipe.clients.hdfs import Hdfs
from logpipe.settings import Settings

TIMEOUT_S = 3.0
_CLIENT = httpx.Client(timeout=TIMEOUT_S, trust_env=False)
_HELD = re.compile(
    r'^flume_channel_Event(Put|Take)SuccessCount\{component="memory"[^}]*\} (\S+)$', re.MULTILINE
)


def held_events(settings: Settings, agent: int) -> int | None:
    """Lines in the memory channel of agent 1, 2, …; 0 when it has no such channel or does not run.

    None when it runs and does not answer: what it holds is not known.
    """
    url = f"http://{settings.host}:{settings.port(f'agent{agent}_metrics_port')}/metrics"
    try:
        text = _CLIENT.get(url).raise_for_status().text
    except httpx.ConnectError:
        return 0  # nobody listens there
    except httpx.HTTPError:
        return None
    counts = {kind: float(value) for kind, value in _HELD.findall(text)}
    return int(counts.get("Put", 0) - counts.get("Take", 0))


class Drain:
    """One wait until all that was in the topic when it began has arrived, however busy the topic is.

    Args:
        settings: of the pipeline.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._until: topic.Topic | None = None
        self._reader = ChainReader(Hdfs.of(settings), settings.hdfs_logs_dir)

    def undrained(self) -> str:
        """What has not arrived yet, for a person; empty when all has, and HDFS has it under final names.

        Raises:
            TopicError, HdfsError, ChainError, WindowsError: Kafka, or HDFS, does not answer.
        """
        if self._until is None:
            if left := held(self._settings, 1):
                return left
            self._until = topic.describe(self._settings)
        until = self._until
        chains = self._reader.chains()
        flushed = {partition: chain.flushed(until.topic_id) for partition, chain in chains.items()}
        is_memory = False
        if until.behind(flushed):
            committed = topic.committed(self._settings, until.offsets)
            chains = self._reader.chains()  # again: agent 2 commits behind a link
            flushed = {partition: chain.flushed(until.topic_id) for partition, chain in chains.items()}
            is_memory = any(offset > flushed.get(partition, 0) for partition, offset in committed.items())
            if behind := until.behind(_further(flushed, committed)):
                return f"agent 2 is {behind} records behind where the topic ended"
            if left := held(self._settings, 2):
                return left
        counted = read_commit_totals(self._settings)
        covered = (counted.covered_offsets or {}) if counted.topic_id in ("", until.topic_id) else {}
        if behind := until.behind(covered):
            return f"the windows are {behind} records behind where the topic ended"
        final = {partition: chain.final(until.topic_id) for partition, chain in chains.items()}
        if not is_memory and (behind := until.behind(final)):
            self._reader.finish()
            return f"{behind} records are flushed to HDFS, and their files not yet final"
        return ""


def unread(settings: Settings) -> int:
    """Records of the topic that agent 2 has not brought to HDFS yet, by what is flushed or committed.

    Raises:
        TopicError, HdfsError, ChainError: Kafka, or HDFS, does not answer.
    """
    now = topic.describe(settings)
    with closing(ChainReader(Hdfs.of(settings), settings.hdfs_logs_dir)) as reader:
        chains = reader.chains()
    flushed = {partition: chain.flushed(now.topic_id) for partition, chain in chains.items()}
    return now.behind(_further(flushed, topic.committed(settings, now.offsets))) if now.behind(flushed) else 0


def held(settings: Settings, agent: int) -> str:
    """What an agent's channel holds, for a person; empty when nothing."""
    held = held_events(settings, agent)
    if held is None:
        return f"agent {agent} runs and does not say what it holds"
    return f"agent {agent} holds {held} lines" if held else ""


def _further(flushed: dict[int, int], committed: dict[int, int]) -> dict[int, int]:
    return {
        partition: max(flushed.get(partition, 0), committed.get(partition, 0))
        for partition in flushed | committed
    }
