"""Starts the page's service: ``python -m logpipe.page``."""

import argparse
import logging
import sys

from logpipe import settings
from logpipe.page.service import PASSWORD, Service
from logpipe.serving import USER, read_password, serve

_CONFIGURATION_ERROR = 2

_EPILOG = f"""\
what it does
  Watches the pipeline and answers the page inside Airflow: where lines are, what the traffic does, the days
  on HDFS, the replays. It follows the windows' commits, keeps a copy of their files below the state folder
  (page/windows, which may be deleted while this is stopped), and goes on answering when Kafka, HDFS or
  Airflow is away: with what it last knew, and how old that is.

how to talk to it (user {USER}, password from {PASSWORD} in secrets.json)
  curl -u {USER}:PASSWORD localhost:9011/flow
  curl -u {USER}:PASSWORD 'localhost:9011/traffic?last=3600&class=4xx'
  curl -u {USER}:PASSWORD localhost:9011/days
  curl -u {USER}:PASSWORD localhost:9011/replays
  curl -u {USER}:PASSWORD localhost:9011/metrics               for Prometheus
  curl localhost:9011/health                                     no password

settings, from the environment
  LOGPIPE_HOST, LOGPIPE_PAGE_PORT (9011), LOGPIPE_STATE_DIR, and where Kafka, HDFS and the agents are
"""


def main() -> int:
    """Serve until SIGTERM or SIGINT; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m logpipe.page",
        description="The service of the page inside Airflow.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--hosts", default="", help="where the agents and their process hosts are, with commas; LOGPIPE_HOST"
    )
    parser.add_argument(
        "--airflow", default="", help="where Airflow's API is, which tells of heals; LOGPIPE_HOST"
    )
    given = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for chatty in ("httpx", "hdfs.client"):  # a line for each question
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        current = settings.load()
        password = read_password(current.state_dir, PASSWORD)
    except ValueError as error:
        print(f"page: {error}", file=sys.stderr)
        return _CONFIGURATION_ERROR
    hosts = given.hosts.split(",") if given.hosts else [current.host]
    service = Service(current, hosts, given.airflow or current.host)
    serve(service.app(password), current.host, current.page_port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
