"""Finds the lines that were acknowledged and are not in the topic, so that they can be sent again.

Only profile `memory` loses such lines: its agent 1 acknowledges what it holds in memory.
"""

import time
from pathlib import Path

from logpipe.accounting.difference import Difference
from logpipe.accounting.source import REPAIR_PREFIX, replays, sent_lines
from logpipe.accounting.topic import expired_records, topic_lines
from logpipe.digest import line_hash
from logpipe.settings import Settings


def write_missing_lines(settings: Settings) -> Path | None:
    """Write the acknowledged lines that the topic lacks to a file of their own; None when it lacks none.

    None as well once retention took records: what it took cannot be told from what never arrived, and sending
    it again would double it. Memory grows with the lines that are missing, not with the log.

    Raises:
        SourceGoneError: a source cannot be read again.
        TopicError: the topic cannot be read.
    """
    if expired_records(settings):
        return None
    records = replays(settings)
    with Difference(settings) as difference:
        difference.add("source", (line for record in records for _, line in sent_lines(record, settings)))
        difference.add("topic", topic_lines(settings))
        counts = difference.compare("source", "topic")
        if not counts.missing:
            return None
        wanted = {
            line: count
            for line, count in difference.hashes("source", "topic", counts.missing + counts.surplus).items()
            if count > 0
        }
    folder = settings.state_dir / "repairs"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{REPAIR_PREFIX}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.log"
    with path.open("wb") as file:
        for record in records:
            for _, line in sent_lines(record, settings):
                hashed = line_hash(line)
                if wanted.get(hashed, 0) > 0:
                    wanted[hashed] -= 1
                    file.write(line + b"\n")
    return path
