"""Tells how the job is doing: ``progress.json`` in the checkpoint folder, and a line in the log."""

import json
import logging
import time
from datetime import UTC, datetime
from typing import Any

from logpipe.clients.kafka import Kafka, TopicError
from logpipe.windows.commit import Commit
from windows.hdfs import Hdfs
from windows.options import Options
from windows.steps import Steps

log = logging.getLogger("windows")

BUSY_INTERVAL_S = 5.0
IDLE_INTERVAL_S = 60.0


def _iso(time_ms: int | None) -> str | None:
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).isoformat()


class Progress:
    """Writes progress: every few seconds while lines come, every minute otherwise."""

    def __init__(self, hdfs: Hdfs, options: Options, kafka: Kafka) -> None:
        self._hdfs = hdfs
        self._path = f"{options.checkpoint_url}/progress.json"
        self._options = options
        self._kafka = kafka
        self._written_at = 0.0
        self._waiting_for = ""
        self._seen: Commit | None = None

    def waiting(self, what: str) -> None:
        """Say what the job waits for; HDFS may be what is away."""
        if what == self._waiting_for and time.monotonic() - self._written_at < IDLE_INTERVAL_S:
            return
        self._waiting_for = what
        self._write({"state": "waiting", "waiting_for": what})

    def stopped(self, steps: Steps) -> None:
        """Say that the job was stopped on request."""
        self._write({"state": "stopped", **self._counts(steps.commit)})

    def report(self, steps: Steps) -> None:
        """Write how far the job is, when it is time to."""
        commit = steps.commit
        elapsed_s = time.monotonic() - self._written_at
        changed = self._seen is None or commit.step != self._seen.step
        if elapsed_s < (BUSY_INTERVAL_S if changed else IDLE_INTERVAL_S):
            return
        lines = commit.lines - self._seen.lines if self._seen is not None else 0
        rate = lines / elapsed_s if self._seen is not None else 0.0
        try:
            ends = self._kafka.offsets(self._options.topic).ends
            lag: int | None = sum(end - commit.offsets.get(part, 0) for part, end in ends.items())
        except TopicError:
            lag = None
        values = {
            "state": "running",
            "lines_per_s": round(rate, 1),
            "lag_lines": lag,
            "batch_s": round(steps.step_s, 3),
            **self._counts(commit),
        }
        if lines:
            log.info(
                "Batch %d: %d lines counted, %.0f lines/s, %s behind, batch %.2f s, %d late, %d malformed",
                commit.batch_id, commit.lines, rate, lag, steps.step_s, commit.late, commit.malformed,
            )  # fmt: skip
        self._write(values)
        self._seen = commit

    @staticmethod
    def _counts(commit: Commit) -> dict[str, Any]:
        return {
            "step": commit.step,
            "batch_id": commit.batch_id,
            "committed_at": commit.committed_at,
            "watermark": _iso(commit.watermark_ms),
            "state_rows": commit.open_rows,
            "lines": commit.lines,
            "late": commit.late,
            "malformed": commit.malformed,
            "repeats": commit.repeats,
            "replays_remembered": len(commit.marks),
            "offsets": commit.offsets,
        }

    def _write(self, values: dict[str, Any]) -> None:
        self._written_at = time.monotonic()
        values = {"written_at": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        try:
            self._hdfs.write_text(self._path, json.dumps(values, indent=1))
        except OSError as error:
            log.warning("Progress was not written: %s", error)
