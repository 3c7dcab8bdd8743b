"""What stands beside a partition's files once it is reconciled."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from logpipe.digest import Digest
from reconciliation.errors import ReconcileError

NAME = "_manifest.json"
SUCCESS = "_SUCCESS"
FORMAT = 1


@dataclass(frozen=True)
class Repairs:
    """What was done to a partition; counts are lines unless said.

    Attributes:
        missing_written: Lines of the day that its directory lacked.
        moved_home: Those of them that stood in a later day's directory.
        surplus_removed: Lines too many, or of another day.
        half_lines_mended: Lines without an end that a killed agent left.
        recovered_files: In-use files of killed agents, closed and renamed.
        merged_files: Files that a merge alone took in.
        rescued_files: Files that an agent wrote while the sets were switched, carried over.
    """

    missing_written: int = 0
    moved_home: int = 0
    surplus_removed: int = 0
    half_lines_mended: int = 0
    recovered_files: int = 0
    merged_files: int = 0
    rescued_files: int = 0

    def __add__(self, other: "Repairs") -> "Repairs":
        """Both."""
        return Repairs(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class Manifest:
    """A partition as it was left.

    Attributes:
        partition: Name of the directory.
        topic: Compared with.
        digest: Of all lines of all files.
        files: ``{"name", "size_bytes", "lines", "bytes", "hash_sum"}`` each.
        offsets: Topic partition to the offsets compared, ``[start, stop)``.
        unconfirmable: What retention took: ``{"partition", "before_offset", "from", "to"}`` each.
        day_over: Whether the day had ended: only then it is marked as a success.
        repairs: What the run did that wrote this.
        repeats: Records of the topic that counted for nothing, being sent again.
        reconciled_at: ISO-8601, UTC.
        zone: Parts the days.
        later_days: Partitions that held lines of this day, which are surplus there until their own run.
    """

    partition: str
    topic: str
    digest: Digest
    files: list[dict[str, Any]]
    offsets: dict[int, tuple[int, int]]
    unconfirmable: list[dict[str, Any]]
    day_over: bool
    repairs: Repairs
    repeats: int
    reconciled_at: str
    zone: str = "UTC"
    later_days: list[str] = field(default_factory=list)
    format: int = field(default=FORMAT)

    @property
    def sizes(self) -> dict[str, int]:
        """Name to size of every file."""
        return {file["name"]: file["size_bytes"] for file in self.files}

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        values = asdict(self)
        values |= self.digest.to_json()
        del values["digest"]
        values["offsets"] = {str(partition): list(both) for partition, both in self.offsets.items()}
        return values

    def to_text(self) -> str:
        """As the file's text."""
        return json.dumps(self.to_json(), indent=1) + "\n"

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Manifest":
        """Rebuild what `to_json` gave.

        Raises:
            ReconcileError: another version wrote it.
        """
        if values.get("format") != FORMAT:
            raise ReconcileError(
                f"A manifest of format {values.get('format')}, expected {FORMAT}: remove it, and run again"
            )
        values = dict(values)
        digest = Digest.from_json(values)
        for name in ("lines", "bytes", "hash_sum"):
            del values[name]
        values["offsets"] = {int(partition): tuple(both) for partition, both in values["offsets"].items()}
        values["repairs"] = Repairs(**values["repairs"])
        return cls(digest=digest, **values)
