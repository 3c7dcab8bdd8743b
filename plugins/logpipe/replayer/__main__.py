"""Starts the replayer: ``python -m logpipe.replayer``."""

import argparse
import logging
import sys

from logpipe import settings
from logpipe.replayer.follow.engine import Engine
from logpipe.replayer.journal import Journal, JournalBusyError
from logpipe.replayer.registry import Registry
from logpipe.replayer.service import PASSWORD, Service
from logpipe.replayer.sums import KEEP_DAYS
from logpipe.serving import USER, read_password, serve
from logpipe.settings.redaction import redacted

_CONFIGURATION_ERROR = 2

_EPILOG = f"""\
what it does
  Streams a log file (ftp, ftps, http, https or file URL; gzip or plain) line by line to Flume, at a pace:
    delay:0.1    a fixed time between lines, in seconds
    speed:600    the log's own clock, 600 times faster
    max          as fast as lines are acknowledged
  and by a delivery profile:
    durable      to Flume's Thrift source, in acknowledged batches; resumes exactly
    memory       to Flume's netcat source; a lost connection may repeat lines
  A replay is known by its replay_id. Asking for the same one again reattaches to it, or lets it go on where
  it failed or was stopped. After a restart of this program all running replays go on by themselves.

how to talk to it (user {USER}, password from {PASSWORD} in secrets.json)
  curl -u {USER}:PASSWORD localhost:9010/replays --json \\
    '{{"replay_id": "first", "url": "file:///path/to/access.log.gz", "pace": "max", "profile": "memory"}}'
                                        with "login": {{"user": "me", "password": "…"}} for the log's server,
                                        and "query": "…" in it for a URL that is signed
  curl -u {USER}:PASSWORD localhost:9010/replays/first            lines, bytes, digest, state, reason
  curl -u {USER}:PASSWORD -X POST localhost:9010/replays/first/stop
  curl -u {USER}:PASSWORD localhost:9010/replays/first/seal --json '{{"sealed_at": "2026-01-31T00:00:00Z"}}'
                                                                 equal everywhere: not to change any more
  curl -u {USER}:PASSWORD localhost:9010/follows --json '{{"log": "/var/log/nginx/access.log"}}'
                                                                 follow it as it is written; /follows/ID/stop
  curl localhost:9010/health                                     no password

where things are, below LOGPIPE_STATE_DIR
  secrets.json                the password
  replays/ID.json             one record a replay, and a file of a followed log
  follows/ID.json             one a followed log
  replays/sums.json           what is left of those that were sealed and ended {KEEP_DAYS} days ago
  (copies of the records      below LOGPIPE_HDFS_LEDGER_DIR on HDFS, in replays)
  dead_letters/ID.jsonl       lines over LOGPIPE_MAX_LINE_BYTES, which are not sent

settings, from the environment
  LOGPIPE_HOST, LOGPIPE_REPLAYER_PORT (9010), LOGPIPE_THRIFT_PORT (9998), LOGPIPE_NETCAT_PORT (9999),
  LOGPIPE_KAFKA_BOOTSTRAP (localhost:9092) and LOGPIPE_TOPIC (apache_logs), to ask for its partitions,
  LOGPIPE_STATE_DIR, LOGPIPE_MAX_LINE_BYTES (1048576),
  LOGPIPE_FILE_ROOTS, the folders of files that may be replayed, LOGPIPE_SOURCE_HOSTS, servers

SIGTERM ends it within eight seconds with what is in flight recorded and copied; replays stay running.
"""


class _Redacting(logging.Formatter):
    """Libraries name the URLs that they asked, tracebacks too."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without the secrets of the URLs in it."""
        return redacted(super().format(record))


def main() -> int:
    """Serve until SIGTERM or SIGINT; gives the exit status."""
    argparse.ArgumentParser(
        prog="python -m logpipe.replayer",
        description="The replayer: sends the lines of log files to Flume and records what was acknowledged.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each copy of a record
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # a line for each change of a followed log
    try:
        current = settings.load()
        password = read_password(current.state_dir, PASSWORD)
        registry = Registry(current, Journal(current.state_dir / "replays"))
        engine = Engine(current, registry)
    except (ValueError, OSError, JournalBusyError) as error:
        print(f"replayer: {error}", file=sys.stderr)
        return _CONFIGURATION_ERROR
    serve(Service(registry, engine).app(password), current.host, current.replayer_port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
