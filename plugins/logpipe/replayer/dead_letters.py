"""Lines that are not sent, kept where a person finds them: one JSON object a line, one file a replay."""

import base64
import contextlib
import json
import os
from pathlib import Path

from logpipe.replayer.alone import alone
from logpipe.replayer.feed import SetAside
from logpipe.settings.unreadable import UNREADABLE


class DeadLetters:
    """The file ``dead_letters/<replay id>.jsonl`` in the state folder; each line number stands in it once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last_number: int | None = None

    def add(self, item: SetAside, *, source: str, reason: str) -> None:
        """Append a line, synced; nothing if it is there already (a kill came between this and the record).

        Raises:
            OSError: the disk is full or fails.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with alone(self._path.parent):
            self._add(item, source, reason)

    def _add(self, item: SetAside, source: str, reason: str) -> None:
        if self._last_number is None:
            self._last_number = self._mend()
        if item.number <= self._last_number:
            return
        entry = {
            "source": source,
            "line_number": item.number,
            "reason": reason,
            "length_bytes": item.line.length_bytes,
            "xxh64": f"{item.line.hash:016x}",
            "prefix_base64": base64.b64encode(item.line.prefix).decode(),
        }
        self._last_number = None  # until it is written whole; a half entry is mended at the next attempt
        with self._path.open("ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._last_number = item.number

    def _mend(self) -> int:
        """Cut off an entry that was not written whole; gives the last line number, 0 for none."""
        last_number = good_bytes = 0
        with self._path.open("a+b") as file:
            file.seek(0)
            for text in file:
                if not text.endswith(b"\n"):
                    break
                with contextlib.suppress(*UNREADABLE):  # a line that somebody else wrote stays
                    last_number = max(last_number, int(json.loads(text)["line_number"]))
                good_bytes += len(text)
            file.truncate(good_bytes)
        return last_number
