"""Says what is still on its way between the sources and the two ends, HDFS and windows."""

from collections.abc import Sequence
from contextlib import closing

from logpipe.accounting import topic
from logpipe.accounting.chain import ChainReader
from logpipe.accounting.windows import read_commit_totals
from logpipe.clients.flume import FlumeAgent
from logpipe.clients.hdfs import Hdfs
from logpipe.clients.kafka import Topic
from logpipe.settings import Settings


def held_events(settings: Settings, agent: int) -> int | None:
    """Lines in the memory channel of agent 1, 2, …; 0 when it has no such channel or does not run.

    None when it runs and does not answer: what it holds is not known.
    """
    return FlumeAgent.of(settings, agent).held_events()


class Drain:
    """One wait until all that was in the topic when it began has arrived, however busy the topic is.

    Args:
        settings: of the pipeline.
        agents: both Flume agents, by default those of the settings.
    """

    def __init__(self, settings: Settings, agents: Sequence[FlumeAgent] | None = None) -> None:
        self._settings = settings
        self._agents = agents or [FlumeAgent.of(settings, number) for number in (1, 2)]
        self._until: Topic | None = None
        self._reader = ChainReader(Hdfs.of(settings), settings.hdfs_logs_dir)

    def undrained(self) -> str:
        """What has not arrived yet, for a person; empty when all has, and HDFS has it under final names.

        Raises:
            TopicError, HdfsError, ChainError, WindowsError: Kafka, or HDFS, does not answer.
        """
        if self._until is None:
            if left := self._held(1):
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
            if left := self._held(2):
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

    def _held(self, agent: int) -> str:
        return _told(agent, self._agents[agent - 1].held_events())


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
    return _told(agent, held_events(settings, agent))


def _told(agent: int, held: int | None) -> str:
    if held is None:
        return f"agent {agent} runs and does not say what it holds"
    return f"agent {agent} holds {held} lines" if held else ""


def _further(flushed: dict[int, int], committed: dict[int, int]) -> dict[int, int]:
    return {
        partition: max(flushed.get(partition, 0), committed.get(partition, 0))
        for partition in flushed | committed
    }
