"""Says what is still on its way between the sources and the two ends, HDFS and windows."""

from collections.abc import Sequence
from contextlib import closing

from logpipe.accounting import topic
from logpipe.accounting.chain import ChainReader
from logpipe.clients.errors import ClientError
from logpipe.clients.flume import Agents, FlumeAgent
from logpipe.clients.hdfs import Hdfs
from logpipe.clients.kafka import Topic, TopicError
from logpipe.settings import Settings
from logpipe.windows.reader import commit_totals


class Drain:
    """One wait until all that was in the topic when it began has arrived, however busy the topic is.

    Args:
        settings: of the pipeline.
        agents: the Flume agents, by default those of the settings.
    """

    def __init__(self, settings: Settings, agents: Agents | None = None) -> None:
        self._settings = settings
        self._agents = agents or Agents.of(settings)
        self._until: Topic | None = None
        self._reader = ChainReader(Hdfs.of(settings), settings.hdfs_logs_dir)

    def undrained(self) -> str:
        """What has not arrived yet, for a person; empty when all has, and HDFS has it under final names.

        Raises:
            TopicError, HdfsError, ChainError, WindowsError: Kafka, or HDFS, does not answer.
        """
        if self._until is None:
            if left := _held(self._agents.filling):
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
            if behind := until.behind(topic.further(flushed, committed)):
                return f"agent 2 is {behind} records behind where the topic ended"
            if left := _held(self._agents.emptying):
                return left
        final = {partition: chain.final(until.topic_id) for partition, chain in chains.items()}
        if unfinal := 0 if is_memory else until.behind(final):
            self._reader.finish()  # while the windows still count
        counted = commit_totals(self._settings)
        covered = (counted.covered_offsets or {}) if counted.topic_id in ("", until.topic_id) else {}
        if behind := until.behind(covered):
            return f"the windows are {behind} records behind where the topic ended"
        if unfinal:
            return f"{unfinal} records are flushed to HDFS, and their files not yet final"
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
    if not now.behind(flushed):
        return 0
    return now.behind(topic.further(flushed, topic.committed(settings, now.offsets)))


def agent_undrained(settings: Settings, agent: FlumeAgent, *, empties_topic: bool) -> str:
    """What would be lost or late if an agent was stopped now, for a person; empty when nothing.

    Args:
        settings: of the pipeline.
        agent: which.
        empties_topic: it brings the topic to HDFS; nothing comes from one that is not there, or whose broker
            is away.
    """
    try:
        if empties_topic and (left := unread(settings)):
            return f"{left} records of the topic are not in HDFS yet"
    except TopicError:
        pass
    except ClientError as error:
        return str(error)
    return agent.told_held()


def _held(agents: Sequence[FlumeAgent]) -> str:
    return ", ".join(filter(None, (agent.told_held() for agent in agents)))
