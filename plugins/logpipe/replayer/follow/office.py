"""Where all followed logs send and record: one agent, one disk, one journal."""

import threading
import time
from collections.abc import Callable
from functools import partial

from logpipe.contracts.formats import DEFAULT
from logpipe.formats.detect import AUTO, take, told
from logpipe.formats.fields import FormatError
from logpipe.replayer.addresses import AddressKeyError, begun, treated
from logpipe.replayer.backoff import Backoff
from logpipe.replayer.dead_letters import DeadLetters
from logpipe.replayer.errors import InterruptedReplayError, SinkError, SinkUnavailableError
from logpipe.replayer.feed import Batch, SetAside
from logpipe.replayer.follow.files import Identity
from logpipe.replayer.follow.store import Follow, FollowStore
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.halt import Halt
from logpipe.replayer.record import ReplayRecord
from logpipe.replayer.registry import Registry
from logpipe.replayer.room import must_have_room
from logpipe.replayer.sinks import insist_on_disk
from logpipe.replayer.thrift_sink import ThriftSink
from logpipe.replayer.topic import partition_count, still_has
from logpipe.settings import Settings


class Office:
    """Sends and records for every followed log; any thread may call.

    Args:
        settings: where agent 1 and the topic are.
        records: keeps the records of generations, and lets others know of them.
        store: keeps what is followed.
        halt: once it is asked for, nothing is sent any more.
        owner: gives the id of the log that reads a file, other than the one with an id; None: there is none.

    Attributes:
        door: what may be read.
        gate: shut while the agent is away.
        trouble: why nothing can be recorded; empty while it can.
    """

    def __init__(
        self,
        settings: Settings,
        records: Registry,
        store: FollowStore,
        halt: Halt,
        owner: Callable[[Identity, str], str | None],
    ) -> None:
        self.settings = settings
        self.owner = owner
        self.door = FrontDoor.of(settings)
        self.gate = Gate()
        self.trouble = ""
        self._records = records
        self._store = store
        self._halt = halt
        self._sinks = threading.local()
        self._sending: set[str] = set()

    def records(self, follow_id: str) -> list[ReplayRecord]:
        """Of a log's generations, in their order."""
        return self._records.generations(follow_id)

    def save(self, record: ReplayRecord, *, is_new: bool = False) -> None:
        """Record, however long the disk is full; nothing is sent meanwhile.

        Raises:
            InterruptedReplayError: the replayer halts.
        """
        self._insist(lambda: self._records.keep(record, is_new=is_new or record.state != "running"))

    def save_follow(self, follow: Follow) -> None:
        """As `save`."""
        self._insist(lambda: self._store.save(follow))

    def _insist(self, write: Callable[[], None]) -> None:
        def note(text: str | None) -> None:
            self.trouble = text or ""

        insist_on_disk(write, self.settings.state_dir, self._halt, note)

    def fasten(self, record: ReplayRecord) -> ReplayRecord:
        """Find out how many partitions there are, or that there are as many still; tell other hosts.

        Raises:
            SinkUnavailableError: Kafka or HDFS are away.
            SinkError: the topic has fewer partitions than the record says.
        """
        with self.gate.tries():
            if record.partitions is None:
                record = record.changed(partitions=partition_count(self.settings))
                self.save(record, is_new=True)
            else:
                still_has(record.partitions, self.settings)()
            self._records.publish(record)
        return record

    def format_of(self, follow: Follow, lines: list[bytes]) -> tuple[str, str]:
        """Tell the format by a log's first lines, and register it before they are sent.

        Lines are sent whatever they look like: those that do not parse are counted as such, and kept.

        Raises:
            SinkUnavailableError: HDFS is away.
            SinkError: the log is registered with another format.
        """
        taken, warning = follow.format, ""
        try:
            found = take(follow.format, lines).name
            taken = found if taken == AUTO else taken
        except FormatError as error:
            taken = DEFAULT.format_text if taken == AUTO else taken
            warning = f"its lines are read as {taken}: {told(error, follow.addresses)}"
        with self.gate.tries():
            self._records.register_format(follow.prefix, follow.path, taken)
        return taken, warning

    def begun(self, follow: Follow, record: ReplayRecord) -> ReplayRecord:
        """Settle what becomes of addresses in the lines of a file.

        Raises:
            SinkError: the key is not there.
        """
        try:
            format_text = follow.taken_format or DEFAULT.format_text  # a line that is too long came first
            return record.changed(treatment=begun(record.spec.addresses, format_text, self.settings))
        except AddressKeyError as error:
            raise SinkError(str(error)) from None

    def treated(self, record: ReplayRecord, lines: list[bytes]) -> list[bytes]:
        """The lines as they are sent.

        Raises:
            SinkError: the key is not there.
        """
        try:
            return treated(record.treatment, self.settings)(lines)
        except AddressKeyError as error:
            raise SinkError(str(error)) from None

    def send(self, record: ReplayRecord, batch: Batch, *, is_repeat: bool) -> None:
        """Return once the batch is acknowledged.

        Raises:
            SinkUnavailableError: it is not, as far as known: it is to be sent again.
            SinkError: the topic has fewer partitions than the record says.
            InterruptedReplayError: the replayer halts.
        """
        if self._halt.asked:
            raise InterruptedReplayError
        replay_id, partitions = record.spec.replay_id, record.partitions or 0
        if not hasattr(self._sinks, "sink"):
            self._sinks.sink = ThriftSink(
                self.settings.host,
                self.settings.thrift_port,
                replay_id,
                self._halt,
                partitions=partitions,
                before=partial(must_have_room, self.settings),
            )
        sink: ThriftSink = self._sinks.sink
        assert record.generation is not None
        follow_id = record.generation.follow_id
        self._sending.add(follow_id)
        try:
            with self.gate.tries():
                if is_repeat:
                    still_has(partitions, self.settings)()
                sink.serve(replay_id, partitions, self.gate.shut)
                sink.begin(batch)
                sink.finish()
        finally:
            self._sending.discard(follow_id)

    def is_sending(self, follow_id: str) -> bool:
        """Whether a batch of this log waits for its answer."""
        return follow_id in self._sending

    def set_aside(self, record: ReplayRecord, item: SetAside) -> None:
        """Keep a line that is too long."""
        letters = DeadLetters(self.settings.state_dir / "dead_letters" / f"{record.spec.replay_id}.jsonl")
        reason = item.reason(self.settings.max_line_bytes)
        self._insist(lambda: letters.add(item, source=record.spec.url, reason=reason))


class Gate:
    """Shut while the agent is away: then only those try that have something in flight."""

    def __init__(self) -> None:
        self._backoff = Backoff()
        self._lock = threading.Lock()
        self._reason = ""
        self._try_at_s = 0.0
        self.wait_s = 0.1

    def shut(self, reason: str) -> None:
        """The agent has not answered for a while: who waits for it will say when it does."""
        with self._lock:
            self._reason, self._try_at_s = reason, float("inf")

    def must_be_open(self) -> None:
        """Raise SinkUnavailableError if it is shut, and let one try now and then."""
        with self._lock:
            if self._reason and time.monotonic() < self._try_at_s:
                raise SinkUnavailableError(self._reason)
            self._try_at_s = time.monotonic() + self.wait_s

    def tries(self) -> "Gate":
        """For a ``with``: opens when what is tried succeeds, shuts when the agent is away."""
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        with self._lock:
            if error is None:
                self._backoff.reset()
                self._reason, self.wait_s = "", 0.1
            elif isinstance(error, SinkUnavailableError):
                self.wait_s = self._backoff.next_pause_s() or 0.1
                self._reason, self._try_at_s = str(error), time.monotonic() + self.wait_s
            else:  # of this log alone: another one may try
                self._try_at_s = 0.0
