"""Writes windows and dead letters to Kafka, keyed, so that writing them twice changes nothing.

``docs/windows.md`` has the records. A record of a window and dimension is a pure function of committed steps,
as are the places where large ones are cut into chunks.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import polars as pl
from confluent_kafka import KafkaError, KafkaException, Producer

from windows.rows import KEY

_CHUNK_BYTES = 128 << 10  # of keys and numbers; control characters, six times as long in JSON, fit as well
_ROW_BYTES = 48
_SLICE_ROWS = 200_000
_SEND_S = 60.0
_OF_RECORD = ("start_s", "dimension", "chunk")
_CONFIGURATION = {
    "acks": "all",
    "enable.idempotence": True,  # sent again, a record must not come behind its tombstone
    "linger.ms": 20,
    "batch.size": 262_144,
    "compression.type": "lz4",
    "message.timeout.ms": 30_000,
    "queue.buffering.max.messages": 200_000,
    "queue.buffering.max.kbytes": 64 << 10,
    "message.max.bytes": 2_000_000,  # a topic's own limit holds
    "log_level": 0,
}

_SIZE = pl.col("key").str.len_bytes().cast(pl.Int64) + _ROW_BYTES


def chunks_of(rows: pl.DataFrame) -> pl.DataFrame:
    """How many chunks a record has, or one more: ``start_s, dimension, chunks``."""
    return rows.group_by("start_s", "dimension").agg(chunks=_SIZE.sum() // _CHUNK_BYTES + 1)


def _time(second: pl.Expr) -> pl.Expr:
    return pl.from_epoch(second).dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def _record_key(since: pl.Expr, step: pl.Expr) -> pl.Expr:
    steps = pl.concat_str(since, step, separator="-")
    return pl.concat_str(_time(pl.col("start_s")), "dimension", steps, "chunk", separator="|")


def window_records(
    rows: pl.DataFrame, window_s: int, since: int, step: int, is_final: bool
) -> Iterator[tuple[str, str]]:
    """Key and value of the records that hold what the steps ``since`` to ``step`` added to windows."""
    before = (_SIZE.cum_sum() - _SIZE).over("start_s", "dimension")
    ordered = rows.sort(*KEY).with_columns(chunk=before // _CHUNK_BYTES)
    records = ordered.select(pl.struct(*_OF_RECORD).rle_id()).to_series()
    first = 0
    while first < ordered.height:  # some records at a time: as text they are large
        last = first + _SLICE_ROWS
        last = records.search_sorted(records[last]) if last < ordered.height else ordered.height
        yield from _texts(ordered[first:last], window_s, since, step, is_final)
        first = last


def _texts(
    rows: pl.DataFrame, window_s: int, since: int, step: int, is_final: bool
) -> Iterator[tuple[str, str]]:
    row = pl.struct("key", "lines", "sent_bytes").struct.json_encode()
    values = rows.group_by(*_OF_RECORD, maintain_order=True).agg(row.str.join(",").alias("row"))
    start = pl.col("start_s")
    value = pl.concat_str(
        pl.lit('{"window_start":"'), _time(start), pl.lit('","window_end":"'), _time(start + window_s),
        pl.lit('","dimension":"'), "dimension",
        pl.lit(f'","since":{since},"step":{step},"final":{str(is_final).lower()},"rows":['),
        "row", pl.lit("]}"),
    )  # fmt: skip
    yield from values.select(_record_key(pl.lit(since), pl.lit(step)), value.alias("value")).iter_rows()


def tombstones(records: pl.DataFrame) -> Iterator[tuple[str, None]]:
    """Keys without value of records that wider ones replace: ``start_s, dimension, since, step, chunks``."""
    each = records.with_columns(chunk=pl.int_ranges(pl.lit(0), "chunks")).explode("chunk")
    for key in each.select(_record_key(pl.col("since"), pl.col("step"))).to_series():
        yield key, None


class Sender:
    """Sends records, in order.

    Args:
        client: configuration of a client of librdkafka, with ``bootstrap.servers``.
    """

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._producer = Producer({**_CONFIGURATION, **client})
        self._error: KafkaError | None = None

    def _told(self, error: KafkaError | None, _: Any) -> None:
        self._error = error or self._error

    def send(self, topic: str, records: Iterable[tuple[Any, ...]]) -> None:
        """Send keys, values and, perhaps, headers; returns when all replicas have them.

        Raises:
            KafkaException: they have not.
        """
        self._error = None
        for record in records:
            while True:
                try:
                    self._producer.produce(
                        topic, record[1], record[0], on_delivery=self._told, headers=list(record[2:])
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
                    if self._error is not None:
                        raise KafkaException(self._error) from None
            self._producer.poll(0)
        left = self._producer.flush(_SEND_S)
        if self._error is not None or left:
            raise KafkaException(self._error or KafkaError(KafkaError._TIMED_OUT))


@cache
def _sender(client: tuple[tuple[str, Any], ...]) -> Sender:
    return Sender(dict(client))


@dataclass(frozen=True)
class DeadLetters:
    """Keeps dead letters in a topic; called in Spark's workers, which hold few of them at once."""

    client: tuple[tuple[str, Any], ...] = field(repr=False)  # items of its configuration
    topic: str

    def __call__(self, letters: pl.DataFrame) -> None:
        """Send letters: columns ``partition, offset, reason, line``."""
        records = (
            (f"{partition}:{offset}", line, ("reason", reason.encode()))
            for partition, offset, reason, line in letters.iter_rows()
        )
        try:
            _sender(self.client).send(self.topic, records)
        except KafkaException:
            _sender.cache_clear()  # one that failed may be of no use any more
            raise
