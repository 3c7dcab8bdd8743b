"""A sealed day as Parquet: ``<hdfs_parquet_dir>/date=YYYY-MM-DD/part-<n>.parquet``, and a manifest beside.

A row a line; where a partition's folder is named so, Spark, Hive and DuckDB have a column ``date`` as well.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from logpipe.contracts.sealed import MANIFEST_FILE, SealedDay
from logpipe.settings import Settings
from logpipe.settings.unreadable import UNREADABLE

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ParquetDay:
    """What was written.

    Attributes:
        attempt: of the sealed day; a day that was sealed anew has another one.
        hash_sum: of the sealed day's digest.
        rows: of each file, in order.
    """

    attempt: str
    hash_sum: str
    rows: dict[str, int]

    @classmethod
    def of(cls, sealed: SealedDay, rows: dict[str, int]) -> "ParquetDay":
        """Of a sealed day's lines."""
        return cls(sealed.attempt, f"{sealed.digest.hash_sum:016x}", rows)

    def is_of(self, sealed: SealedDay) -> bool:
        """Whether these are the lines of the day as it is now."""
        return self == ParquetDay.of(sealed, self.rows) and sum(self.rows.values()) == text_lines(sealed)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_file(cls, content: bytes) -> "ParquetDay | None":
        """What a manifest says; None: another version wrote it, or it is damaged."""
        try:
            values = json.loads(content)
            if values["format"] != FORMAT:
                return None
            rows = {str(name): int(count) for name, count in values["rows"].items()}
            return cls(str(values["attempt"]), str(values["hash_sum"]), rows)
        except UNREADABLE:
            return None


def text_lines(sealed: SealedDay) -> int:
    """Lines of a sealed day's files, as a reader counts them."""
    return sum(file.text.lines for file in sealed.files)


def parquet_folder(settings: Settings, day: date) -> str:
    """The folder of a day."""
    return f"{settings.hdfs_parquet_dir}/date={day.isoformat()}"


def manifest_path(folder: str) -> str:
    """Its manifest, which readers pass over."""
    return f"{folder}/{MANIFEST_FILE}"
