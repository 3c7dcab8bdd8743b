"""Where a partition and the topic differ, as multisets of lines."""

from dataclasses import dataclass, field

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from logpipe.digest import Digest
from reconciliation.lines import LINE_KEY, to_digest


@dataclass
class Difference:
    """Lines that HDFS lacks (``missing``) and has too often (``surplus``), each copy counted.

    Args:
        topic: Keys of the topic's lines, columns `lines.LINE_KEY`, a row a line.
        hdfs: The same of the files.
    """

    topic: DataFrame
    hdfs: DataFrame
    missing: int = field(init=False)
    surplus: int = field(init=False)

    def __post_init__(self) -> None:
        both = self.topic.withColumn("balance", F.lit(1)).unionByName(
            self.hdfs.withColumn("balance", F.lit(-1))
        )
        self._balance = (
            both.groupBy(*LINE_KEY)
            .agg(F.sum("balance").alias("balance"))
            .where("balance != 0")
            .persist(StorageLevel.DISK_ONLY)
        )
        row = self._balance.agg(
            F.sum(F.greatest("balance", F.lit(0))).alias("missing"),
            F.sum(F.greatest(-F.col("balance"), F.lit(0))).alias("surplus"),
        ).first()
        self.missing, self.surplus = (int(count or 0) for count in row) if row else (0, 0)

    def missing_keys(self) -> DataFrame:
        """Columns `LINE_KEY` and ``copies``."""
        return self._balance.where("balance > 0").withColumnRenamed("balance", "copies")

    def surplus_keys(self) -> DataFrame:
        """Columns `LINE_KEY` and ``copies``."""
        return self._balance.where("balance < 0").select(*LINE_KEY, (-F.col("balance")).alias("copies"))

    def missing_digest(self) -> Digest:
        """Digest of all missing lines."""
        copies = F.col("copies").cast("long")
        row = (
            self.missing_keys()
            .agg(
                F.sum(copies).alias("lines"),
                F.sum(copies * F.col("line_bytes")).alias("bytes"),
                F.sum(copies * F.col("hash64")).alias("hash_sum"),
            )
            .first()
        )
        return to_digest(row)

    def missing_in(self, hdfs: DataFrame) -> int:
        """How many of the missing lines stand among these, columns `LINE_KEY`."""
        there = hdfs.groupBy(*LINE_KEY).agg(F.count("*").alias("there"))
        row = (
            self.missing_keys()
            .join(there, LINE_KEY)
            .agg(F.sum(F.least("copies", "there")).alias("found"))
            .first()
        )
        return int(row["found"] or 0) if row else 0

    def close(self) -> None:
        """Free what was spilled."""
        self._balance.unpersist()
