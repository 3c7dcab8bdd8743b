"""The lines of HDFS files as frames, byte for byte, and their digests.

Spark's text source with the line separator set splits at line feeds only and hands on the bytes as they
are, with two exceptions that are put right here: Hadoop's line reader drops a byte order mark at a file's
start, and a last line without its end looks like any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from logpipe.digest import Digest, line_hash
from reconciliation.errors import ReconcileError
from reconciliation.hdfs import LogFiles
from windows.hdfs import Entry

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# What tells lines apart where the bytes are not carried: two hashes and the length.
LINE_KEY = ["hash64", "hash32", "line_bytes"]


def line_key(value: Column) -> list[Column]:
    """The columns of `LINE_KEY` of a binary column."""
    return [
        F.xxhash64(value).alias("hash64"),
        F.hash(value).alias("hash32"),
        F.octet_length(value).alias("line_bytes"),
    ]


def digest_columns() -> list[Column]:
    """Aggregates over `LINE_KEY` that `to_digest` reads."""
    return [
        F.count("*").alias("lines"),
        F.sum(F.col("line_bytes").cast("long")).alias("bytes"),
        F.sum("hash64").alias("hash_sum"),
    ]


def to_digest(row: Row | None) -> Digest:
    """The digest of a row of `digest_columns`."""
    if row is None or not row["lines"]:
        return Digest()
    return Digest(row["lines"], row["bytes"], row["hash_sum"] % (1 << 64))


@dataclass(frozen=True)
class FileDigest:
    """A file with its lines' digest. ``unfinished``: what stands after its last line end, one of them."""

    name: str
    size_bytes: int
    digest: Digest
    unfinished: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {"name": self.name, "size_bytes": self.size_bytes, **self.digest.to_json()}


@dataclass
class FileSet:
    """Closed files of one directory, with digests, and frames of their lines."""

    spark: SparkSession
    hdfs: LogFiles
    entries: Sequence[Entry]
    files: list[FileDigest] = field(init=False)

    def __post_init__(self) -> None:
        self.entries = [entry for entry in self.entries if entry.size_bytes > 0]
        # Corrections of what the text source makes of a file: lines to add (1) and to leave out (-1).
        self._corrections: dict[str, list[tuple[bytes, int]]] = {}
        digests = self._digests()
        self.files = [self._checked(entry, digests.get(entry.name, Digest())) for entry in self.entries]
        self.digest = sum((file.digest for file in self.files), Digest())

    def _read(self, entries: Sequence[Entry]) -> DataFrame:
        paths = [entry.path for entry in entries]
        return self.spark.read.format("text").option("lineSep", "\n").load(paths)

    def _digests(self) -> Mapping[str, Digest]:
        if not self.entries:
            return {}
        rows = (
            self._read(self.entries)
            .select(*line_key(F.col("value").cast("binary")), F.col("_metadata.file_name").alias("name"))
            .groupBy("name")
            .agg(*digest_columns())
            .collect()
        )
        return {row["name"]: to_digest(row) for row in rows}

    def _checked(self, entry: Entry, digest: Digest) -> FileDigest:
        """Put right what the text source does to a file's ends; its size tells whether it did."""
        beyond = entry.size_bytes - digest.size_bytes - digest.lines
        if beyond == 0:
            return FileDigest(entry.name, entry.size_bytes, digest)
        corrections: list[tuple[bytes, int]] = []
        if beyond in (2, 3) and self.hdfs.starts_with(entry.path, BYTE_ORDER_MARK):
            first = self.hdfs.first_line(entry.path)
            if digest.lines:
                corrections.append((first.removeprefix(BYTE_ORDER_MARK), -1))
            corrections.append((first, 1))
        for line, copies in corrections:
            change = Digest(1, len(line), line_hash(line))
            digest = digest + change if copies > 0 else digest - change
        self._corrections[entry.name] = corrections
        unfinished = self.hdfs.unfinished_line(entry.path)
        if entry.size_bytes != digest.size_bytes + digest.lines - bool(unfinished):
            raise ReconcileError(
                f"{entry.path} has {entry.size_bytes:,} bytes, its lines "
                f"{digest.size_bytes + digest.lines:,}: it changed while it was read; run again"
            )
        return FileDigest(entry.name, entry.size_bytes, digest, unfinished)

    @property
    def unfinished(self) -> list[bytes]:
        """The lines without an end at the files' ends."""
        return [file.unfinished for file in self.files if file.unfinished]

    def lines(self, without: Sequence[bytes] = ()) -> DataFrame:
        """The lines, column ``value`` (binary); ``without`` leaves out a copy each of unfinished lines."""
        left_out = list(without)
        odd: dict[str, list[tuple[bytes, int]]] = dict(self._corrections)
        for file in self.files:
            if file.unfinished in left_out:
                left_out.remove(file.unfinished)
                odd[file.name] = [*odd.get(file.name, []), (file.unfinished, -1)]
        odd = {name: corrections for name, corrections in odd.items() if corrections}
        plain = [entry for entry in self.entries if entry.name not in odd]
        frames = []
        if plain or not odd:
            frames.append(self._values(plain))
        if odd:
            changes = [
                (bytearray(line), copies) for corrections in odd.values() for line, copies in corrections
            ]
            counted = (
                self._values([entry for entry in self.entries if entry.name in odd])
                .withColumn("copies", F.lit(1))
                .unionByName(self.spark.createDataFrame(changes, "value binary, copies int"))
                .groupBy("value")
                .agg(F.sum("copies").cast("int").alias("copies"))
                .where("copies > 0")
            )
            frames.append(counted.select("value", F.explode(F.sequence(F.lit(1), "copies"))).select("value"))
        return frames[0] if len(frames) == 1 else frames[0].unionByName(frames[1])

    def _values(self, entries: Sequence[Entry]) -> DataFrame:
        if not entries:
            return self.spark.createDataFrame([], "value binary")
        return self._read(entries).select(F.col("value").cast("binary").alias("value"))

    def keys(self) -> DataFrame:
        """The lines' keys, columns `LINE_KEY`."""
        return self.lines().select(*line_key(F.col("value")))
