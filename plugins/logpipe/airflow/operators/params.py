"""What a person can set in the trigger forms, checked by Airflow before a run starts."""

import re
from typing import get_args
from urllib.parse import urlsplit

from airflow.sdk import Param

from logpipe.identity import MAX_LINES
from logpipe.settings import AddressMode, Settings
from logpipe.settings.redaction import secret_pattern
from logpipe.settings.source_hosts import PUBLIC

MAX_WAIT_S = 31_536_000  # a year

_NOT_PUBLIC = (
    r"(localhost|0\.|10\.|127\.|169\.254\.|172\.(1[6-9]|2[0-9]|3[01])\.|192\.168\.|\[(::|f[cde]))[^/]*/"
)


def _url_pattern(conf: Settings) -> str:
    """What can be told of a URL by its looks; names are looked up by the task `source`."""
    own = re.escape("{0.scheme}://{0.netloc}/".format(urlsplit(conf.replay_url)))
    closed = rf"(?!{own})(ftps?|https?)://([^/?#]*@)?{_NOT_PUBLIC}"
    door = rf"(?!{closed})" if conf.source_hosts == PUBLIC else ""
    secret = rf"(?!.*{secret_pattern()})"
    return rf"^{door}{secret}((ftps?|https?)://.+|file://(localhost)?/(?!\.)(?!.*/\.).+)$"


def profile_param(conf: Settings) -> Param:
    """Offer the delivery profiles."""
    return Param(
        conf.profile,
        type="string",
        enum=["memory", "durable"],
        description="Delivery profile of the agents: durable loses nothing that was acknowledged",
    )


def addresses_param(conf: Settings) -> Param:
    """Offer what becomes of clients' addresses."""
    return Param(
        conf.addresses,
        type="string",
        enum=list(get_args(AddressMode)),
        description="Clients' addresses: keep; shorten them to their network; or hash them by a key, "
        "so that equal ones stay equal",
    )


def date_param() -> Param:
    """Ask for a day; none means the one before the run's date."""
    return Param(
        None,
        type=["null", "string"],
        format="date",
        description="The day, such as 2026-11-23; empty for the one before the run's date",
    )


def replay_params(conf: Settings) -> dict[str, Param]:
    """Ask for all that a replay takes; the defaults are the settings."""
    return {
        "url": Param(
            conf.replay_url,
            type="string",
            pattern=_url_pattern(conf),
            description="The log, plain or gz: ftp://, ftps://, http:// or https:// without a password or "
            "signature, at a public address or one of LOGPIPE_SOURCE_HOSTS; or file:/// below "
            "LOGPIPE_FILE_ROOTS and in no hidden folder",
        ),
        "source_conn_id": Param(
            conf.source_conn_id or None,
            type=["null", "string"],
            description="Connection with user and password, or a signed query, for the log's server; empty "
            "when it asks for none",
        ),
        "pace": Param(
            conf.pace,
            type="string",
            pattern=r"^(max|delay:[0-9]+(\.[0-9]+)?|speed:(?=.*[1-9])[0-9]+(\.[0-9]+)?)$(?!\n)",
            description="delay:SECONDS between lines, speed:FACTOR of the log's own clock, or max",
        ),
        "profile": profile_param(conf),
        "limit": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=MAX_LINES,
            description="Stop after so many lines; empty for all",
        ),
        "format": Param(
            None,
            type=["null", "string"],
            description="How its lines are read: a preset such as caddy, the server's own LogFormat, "
            "log_format, #Fields line or JSON map, or auto; empty for Combined Log Format, whatever "
            "the lines say",
        ),
        "addresses": addresses_param(conf),
        "wait_s": Param(
            0,
            type="integer",
            minimum=0,
            maximum=MAX_WAIT_S,
            description="Wait for the source so long, in seconds; 0 looks once",
        ),
    }


def follow_params(conf: Settings) -> dict[str, Param]:
    """Ask for all that the following of a log takes."""
    return {
        "log": Param(
            "/var/log/nginx/access.log",
            type="string",
            pattern=r"^/.+",
            description="The log on the replayer's host, below LOGPIPE_FILE_ROOTS, or a pattern such as "
            "/var/log/nginx/*.log",
        ),
        "format": Param(
            "auto",
            type="string",
            minLength=1,
            description="A name such as combined, caddy or nginx_json, the server's own LogFormat or "
            "log_format, or auto, which looks at the first lines",
        ),
        "start": Param(
            "end",
            type="string",
            enum=["end", "start"],
            description="end: what is written from now on; start: all that is there, rotated files too",
        ),
        "olddir": Param(
            "",
            type="string",
            description="Where rotation puts old files, as logrotate's olddir; empty: beside the log",
        ),
        "addresses": addresses_param(conf),
        "profile": profile_param(conf),
    }
