"""One replay: a thread that takes lines from a source to a sink and records what was acknowledged."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any

from logpipe.contracts.formats import DEFAULT
from logpipe.digest import Digest
from logpipe.formats import detect
from logpipe.formats.fields import FormatError
from logpipe.identity import CHUNK_LINES
from logpipe.replayer.addresses import AddressKeyError, Treated, begun, treated
from logpipe.replayer.dead_letters import DeadLetters
from logpipe.replayer.errors import InterruptedReplayError, SinkError, SourceError
from logpipe.replayer.feed import BATCH_LINES, Batch, LineFeed, SetAside
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.gunzip import PlainBlock, UnpackLimits, gunzip, is_gzip, must_be_readable, pass_through
from logpipe.replayer.halt import Halt
from logpipe.replayer.journal import Journal
from logpipe.replayer.lines import LineSplitter
from logpipe.replayer.netcat import NetcatSink
from logpipe.replayer.pace import parse_pace
from logpipe.replayer.prefetch import Prefetch
from logpipe.replayer.raw_reader import RawReader, source_of
from logpipe.replayer.record import ReplayRecord, now_text
from logpipe.replayer.room import must_have_room
from logpipe.replayer.sinks import Delivery, Sink, insist, insist_on_disk
from logpipe.replayer.thrift_sink import ThriftSink
from logpipe.replayer.topic import partition_count, still_has
from logpipe.replayer.urls import SourceUrl
from logpipe.settings import Settings

_LOOK_BYTES = 1 << 20  # of a log, to see its format

log = logging.getLogger(__name__)


class Replay:
    """Runs from the record it is given until it is done, has failed or is halted.

    Args:
        record: in state ``running``.
        publish: called before the first line is sent, and again while it raises
            `SinkUnavailableError`; a `SinkError` of it ends the replay.
        on_change: called after each change of the state, from the replay's thread.
    """

    def __init__(
        self,
        record: ReplayRecord,
        settings: Settings,
        journal: Journal,
        publish: Callable[[ReplayRecord], object] = lambda _: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._record = record
        self._settings = settings
        self._journal = journal
        self._publish = publish
        self._on_change = on_change
        self._url = SourceUrl.parse(record.spec.url)
        self._halt = Halt()
        self._is_stop_final = False
        self._treat: Treated = list
        self._lock = threading.Lock()
        self._troubles: dict[str, str] = {}
        self._dead_letters = DeadLetters(
            settings.state_dir / "dead_letters" / f"{record.spec.replay_id}.jsonl"
        )
        self._thread = threading.Thread(target=self._run, name=record.spec.replay_id, daemon=True)

    @property
    def record(self) -> ReplayRecord:
        """The record now; while something is away, its reason says so."""
        with self._lock:
            if self._record.state == "running" and self._troubles:
                return replace(self._record, reason="; ".join(self._troubles.values()))
            return self._record

    @property
    def is_alive(self) -> bool:
        """Whether it runs here, and not only by its record."""
        return self._thread.is_alive() and self.record.state == "running"

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def halt(self, *, is_final: bool) -> None:
        """Ask to halt; a final halt makes the record ``stopped``, any other leaves it ``running``."""
        self._is_stop_final = self._is_stop_final or is_final
        self._halt.ask()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._pump()
        except InterruptedReplayError:
            self._finish_halted()
        except SourceError as error:
            self._fail(error.reason)
        except SinkError as error:
            self._fail(str(error))
        except Exception as error:
            log.exception("%s failed in an unforeseen way", self._record.spec.replay_id)
            self._fail(f"unforeseen {type(error).__name__}: {error}")
        else:
            if self._halt.asked:
                self._finish_halted()
            else:
                self._finish(state="done", reason=None)

    def _pump(self) -> None:
        raw = self._open_raw()
        blocks = self._with_format(self._open_blocks(raw))
        self._fix_partitions()
        with (
            closing(Prefetch(blocks, self._record.spec.replay_id)) as prefetch,
            closing(Delivery(self._sink(), self._halt, on_trouble=self._trouble_with("sink"))) as delivery,
        ):
            self._fasten()
            self._deliver(self._feed(prefetch), delivery)
        if not self._halt.asked and self._record.spec.limit is None:
            self._change(place=replace(self._record.place, source_bytes=raw.offset))

    def _fix_partitions(self) -> None:
        """At the first time finds out how many partitions the topic has; later, that it still has them."""
        record = self._record
        if record.spec.profile != "durable" or record.partitions == 0:
            return
        note = self._trouble_with("sink")
        if record.partitions is None:
            count = insist(lambda: partition_count(self._settings), self._halt, note)
            self._change(partitions=count)
        else:
            insist(still_has(record.partitions, self._settings), self._halt, note)

    def _fasten(self) -> None:
        """Record source and partitions so that no power cut and no other host forgets them."""
        self._insist(lambda: self._journal.save_synced(self._record))
        insist(lambda: self._publish(self._record), self._halt, self._trouble_with("ledger"))

    def _deliver(self, feed: LineFeed, delivery: Delivery) -> None:
        """Keep one batch in flight; the next is cut, and the last recorded, meanwhile."""
        in_flight: tuple[Batch, Digest] | None = None
        going_over = self._trouble_with("resume")
        going_over(None if feed.caught_up else f"going over {self._record.place.line} lines sent before")
        while True:
            item = feed.next(wait=False)
            if feed.caught_up:
                going_over(None)
            if item is None:
                if in_flight:
                    delivery.finish()
                    self._settle(*in_flight)
                    in_flight = None
                item = feed.next(wait=True)
                going_over(None)
                if item is None:
                    return
            acknowledged = in_flight
            in_flight = (item, Digest.of(item.lines)) if isinstance(item, Batch) else None
            if acknowledged:
                delivery.finish()
            if isinstance(item, Batch):
                delivery.begin(item)
            if acknowledged:
                self._settle(*acknowledged)
            if isinstance(item, SetAside):
                self._set_aside(item)

    def _settle(self, batch: Batch, digest: Digest) -> None:
        self._change(digest=self._record.digest + digest, place=batch.end)
        self._save()

    def _set_aside(self, item: SetAside) -> None:
        reason = item.reason(self._settings.max_line_bytes)
        self._insist(lambda: self._dead_letters.add(item, source=self._url.shown, reason=reason))
        self._change(set_aside=self._record.set_aside + 1, place=item.end)
        self._save()

    def _open_raw(self) -> RawReader:
        record = self._record
        return RawReader(
            source_of(self._url, FrontDoor.of(self._settings, record.spec.replay_id), record.spec.login),
            self._halt,
            pinned=record.version,
            offset=0 if record.is_compressed else record.place.pin.offset,
            on_trouble=self._trouble_with("source"),
        )

    def _open_blocks(self, raw: RawReader) -> Iterator[PlainBlock]:
        """Begin to read; at the first time finds out whether the source is compressed, and pins it."""
        blocks = iter(raw)
        if self._record.is_compressed is None:
            head = b""
            for block in blocks:
                head += block
                if len(head) > 1:
                    break
            if not head:
                raise SourceError("the file is empty (0 bytes)")
            must_be_readable(head)
            is_compressed = is_gzip(head)
            if self._url.path.lower().endswith(".gz") and not is_compressed:
                raise SourceError(
                    f"the file is not gzip although its name ends in .gz: it begins with {head[:8]!r}"
                )
            self._change(version=raw.version, is_compressed=is_compressed)
            blocks = chain([head], blocks)
        return (
            gunzip(blocks, UnpackLimits.of(self._settings))
            if self._record.is_compressed
            else pass_through(blocks, self._record.place.pin.offset)
        )

    def _with_format(self, blocks: Iterator[PlainBlock]) -> Iterator[PlainBlock]:
        """At the first time hold the format that was asked for against the first lines, or find it."""
        asked = self._record.spec.format
        if asked is None or self._record.format_taken is not None:
            self._begin_treatment()
            return blocks
        looked_at: list[PlainBlock] = []
        head = bytearray()
        for block in blocks:
            looked_at.append(block)
            head += block.plain
            if head.count(b"\n") >= detect.MAX_LINES or len(head) > _LOOK_BYTES:
                break
        else:
            head += b"\n"  # a last line without end is a line
        try:
            found = detect.take(asked, bytes(head).split(b"\n")[:-1] or [bytes(head)])
        except FormatError as error:
            raise SourceError(detect.told(error, self._record.spec.addresses)) from None
        log.info("%s: format %s", self._record.spec.replay_id, found)
        self._change(format_taken=found.name)
        self._begin_treatment()
        return chain(looked_at, blocks)

    def _begin_treatment(self) -> None:
        """At the first time settle what becomes of addresses; later, that it still can.

        Raises:
            SourceError: the key is not there.
        """
        record = self._record
        try:
            if record.treatment is None:
                format_text = record.format_taken or DEFAULT.format_text
                self._change(treatment=begun(record.spec.addresses, format_text, self._settings))
            self._treat = treated(self._record.treatment, self._settings)
        except AddressKeyError as error:
            raise SourceError(str(error)) from None

    def _feed(self, prefetch: Prefetch) -> LineFeed:
        spec = self._record.spec
        is_compressed = bool(self._record.is_compressed)
        return LineFeed(
            prefetch,
            LineSplitter(self._settings.max_line_bytes),
            self._halt,
            resume=self._record.place,
            pace=parse_pace(spec.pace),
            limit=spec.limit,
            rolling_pin=not is_compressed,
            is_compressed=is_compressed,
            # In profile memory all of the batches in flight at a kill are there twice.
            batch_lines=BATCH_LINES if spec.profile == "durable" else CHUNK_LINES,
            treat=self._treat if self._record.treatment is not None else None,
        )

    def _sink(self) -> Sink:
        host, note = self._settings.host, self._trouble_with("sink")
        room = partial(must_have_room, self._settings)
        if self._record.spec.profile == "durable":
            partitions = self._record.partitions or 0
            return ThriftSink(
                host,
                self._settings.thrift_port,
                self._record.spec.replay_id,
                self._halt,
                partitions=partitions,
                check=still_has(partitions, self._settings) if partitions else lambda: None,
                on_trouble=note,
                before=room,
            )
        return NetcatSink(host, self._settings.netcat_port, self._halt, note, room)

    def _trouble_with(self, part: str) -> Callable[[str | None], None]:
        def note(text: str | None) -> None:
            if text is None and part not in self._troubles:
                return
            with self._lock:
                if text is None:
                    self._troubles.pop(part, None)
                else:
                    self._troubles[part] = f"{self._url.shown}: {text}" if part == "source" else text
            if text and part == "source":
                log.warning("%s: %s", self._url.shown, text)

        return note

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self._record = self._record.changed(**changes)

    def _save(self) -> None:
        self._insist(lambda: self._journal.save(self._record))

    def _insist(self, write: Callable[[], None]) -> None:
        """Write to the disk; while it is full, nothing more is sent."""
        insist_on_disk(write, self._settings.state_dir, self._halt, self._trouble_with("disk"))

    def _fail(self, reason: str) -> None:
        digest = self._record.digest
        self._finish(
            state="failed",
            reason=f"{self._url.shown}: {reason} ({digest.lines} lines were sent and acknowledged)",
        )

    def _finish_halted(self) -> None:
        if self._is_stop_final:
            self._finish(state="stopped", reason="stopped on request")
        else:
            log.info("%s halted behind line %d", self._record.spec.replay_id, self._record.place.line)

    def _finish(self, **changes: Any) -> None:
        self._change(finished_at=now_text(), **changes)
        record = self._record
        log.info(
            "%s is %s behind line %d: %s",
            record.spec.replay_id,
            record.state,
            record.place.line,
            record.reason,
        )
        try:
            self._save()
        except InterruptedReplayError:
            log.error("%s: its end was not recorded", record.spec.replay_id)
        self._on_change()
