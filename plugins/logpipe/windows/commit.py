"""A commit of the windows job, and the names of the files that count at it.

``C`` is the checkpoint folder, ``W`` the windows folder:

``C/windows/commits.<epoch>/<step>.parquet``
    The log. A step exists exactly when its file does: its rows are what it added, its footer the commit.
``W/date=<date>/<first>-<last>-t<tier>.parquet``
    All rows of a date that the steps ``first`` to ``last`` added, summed.

A file does not change, unless an address is erased (`logpipe.windows.erase`).
"""

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from logpipe.contracts.chain import Mark, digest_of_list, digest_to_list
from logpipe.digest import Digest

FORMAT = 3
FOOTER_KEY = b"logpipe.commit"
FIRST_QUERY = "query"
ERASED_FILE = "_erased.json"  # in the windows folder: since its last change no file is what it was
COMPACTED_WITHIN_MS = 86_400_000  # so long what was replaced, an erased address too, may stay in a topic
EPOCH_NAME = re.compile(r"commits\.([0-9]+)")
STEP_NAME = re.compile(r"([0-9]{12})\.(?:parquet|json)")  # JSON: of formats before 3
_DATE_FILE = re.compile(r"([0-9]{12})-([0-9]{12})-t([0-9]+)\.parquet")

Marks = dict[tuple[int, str], Mark]  # by Kafka partition and replay
Kind = Literal["start", "batch", "close", "fold", "expire", "cut"]


class WindowsError(RuntimeError):
    """The windows can't be read; the message names the place."""


@dataclass(frozen=True)
class Commit:
    """The windows after a step.

    Attributes:
        step: Number of the step, from 1.
        kind: ``batch`` counted lines, ``close`` closed windows while no lines came, ``fold`` moved the log's
            rows to files by date, ``expire`` deleted old dates, ``start`` began the store, ``cut`` began a
            query anew since the broker had lost what Spark's offsets stood for.
        parameters: What the counts depend on, see `windows.options`.
        topic_id: Kafka's id of the topic.
        store_id: Tells stores apart that were begun anew in the same folders.
        query: Name of the folder of Spark's offsets.
        batch_id: Spark's number of the last batch counted, in that folder.
        folded: The last fold: rows of the log up to it stand in files by date.
        folded_before: A fold before that; the log begins there, and files by date are merged up to it.
        log_rows: Rows in the log behind the last fold.
        open_rows: Rows of the open windows; where there are many, some keys are in it twice.
        open_until_ms: End of the newest window by arrival.
        offsets: Next offset of each partition.
        newest_ms: Newest arrival among the records of each partition before that.
        watermark_ms: Windows that end by then are closed. None before the first time.
        reset_step: The last step that closed all windows and began the clock anew, in event time.
        marks: Of each replay in each partition the highest number, last arrival, and digest of its lines.
        expires: Dates that this step deletes; their files do not count at this commit, and are perhaps there.
        expired_step: The last step that deleted dates.
        lines, line_bytes, hash_sum, late, malformed, repeats: Sums over all steps.
        anonymous: The part of the lines without identity: no key, or a foreign one.
        foreign: Records with a key that is no identity; they are counted, and in ``anonymous``.
        expired: The lines of windows that were deleted by age.
        committed_at: When, ISO-8601 UTC.
    """

    step: int
    kind: Kind
    parameters: dict[str, Any]
    topic_id: str
    store_id: str = ""
    query: str = FIRST_QUERY
    batch_id: int = -1
    folded: int = 0
    folded_before: int = 0
    log_rows: int = 0
    open_rows: int = 0
    open_until_ms: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    newest_ms: dict[int, int] = field(default_factory=dict)
    watermark_ms: int | None = None
    reset_step: int = 0
    marks: Marks = field(default_factory=dict)
    expires: tuple[str, ...] = ()
    expired_step: int = 0
    lines: int = 0
    line_bytes: int = 0
    hash_sum: int = 0
    late: int = 0
    malformed: int = 0
    repeats: int = 0
    anonymous: Digest = field(default_factory=Digest)
    foreign: int = 0
    expired: Digest = field(default_factory=Digest)
    committed_at: str = ""

    @property
    def digest(self) -> Digest:
        """The lines that were ever counted, as the job added them up; deleted windows are in it."""
        return Digest(self.lines, self.line_bytes, self.hash_sum)

    def to_json(self) -> str:
        """As JSON text."""
        values = asdict(replace(self, marks={}))
        values["marks"] = [
            [*place, mark.number, mark.last_arrival_ms, *digest_to_list(mark.digest)]
            for place, mark in self.marks.items()
        ]
        for name in ("anonymous", "expired"):
            values[name] = digest_to_list(getattr(self, name))
        values["hash_sum"] = f"{self.hash_sum:016x}"
        values["format"] = FORMAT
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "Commit":
        """Rebuild what `to_json` gave.

        Raises:
            WindowsError: it is of another version.
        """
        values = json.loads(text)
        if (found := values.pop("format", None)) != FORMAT:
            raise WindowsError(
                f"The checkpoint has format {found}, expected {FORMAT}: it was written by another version of "
                "the windows job; give a new --checkpoint-dir and --windows-dir "
                "(LOGPIPE_HDFS_CHECKPOINT_DIR, LOGPIPE_HDFS_WINDOWS_DIR) to count anew, or run that version"
            )
        for name in ("offsets", "newest_ms"):
            values[name] = {int(partition): value for partition, value in values[name].items()}
        values["marks"] = {
            (partition, replay): Mark(number, arrival_ms, digest_of_list(lines))
            for partition, replay, number, arrival_ms, *lines in values["marks"]
        }
        for name in ("anonymous", "expired"):
            values[name] = digest_of_list(values[name])
        values["expires"] = tuple(values["expires"])
        values["hash_sum"] = int(values["hash_sum"], 16)
        return cls(**values)


def step_name(step: int) -> str:
    """The name of a step's file in the log."""
    return f"{step:012d}.parquet"


class DateFile(NamedTuple):
    """A file of one date: the rows that the steps ``first`` to ``last`` added."""

    date: str
    first: int
    last: int
    tier: int
    modified_ms: int = 0

    @classmethod
    def of_name(cls, date: str, name: str, modified_ms: int = 0) -> "DateFile | None":
        """Read a file's name; None when it is no such file."""
        match = _DATE_FILE.fullmatch(name)
        return cls(date, int(match[1]), int(match[2]), int(match[3]), modified_ms) if match else None

    @property
    def path(self) -> str:
        """Its path in the windows folder."""
        return f"date={self.date}/{self.first:012d}-{self.last:012d}-t{self.tier}.parquet"


def counting(files: Iterable[DateFile], folded: int) -> list[DateFile]:
    """Of one date's files those that count: up to the last fold, the widest where they lie in each other."""
    chosen: list[DateFile] = []
    for file in sorted(files, key=lambda file: (file.first, -file.last, file.tier)):
        if file.last <= folded and not (chosen and file.last <= chosen[-1].last):
            chosen.append(file)
    return chosen
