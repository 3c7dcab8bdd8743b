"""``logpipe``: the commands on one pipeline, wherever it runs; `make` stands before it."""

import os
import signal
import sys
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from logpipe.identity import MAX_LINES
from logpipe.settings import AddressMode, DeliveryProfile, SettingsError

if TYPE_CHECKING:
    from logpipe.cli.cluster import ClusterTarget
    from logpipe.cli.inside import InsideTarget
    from logpipe.cli.machine import MachineTarget

INTERRUPTED = 130

HELP = """
A streaming pipeline for web server logs: replay a log, see where its lines are, prove that none is missing.

Settings (ports, paths, sizes, names) are environment variables LOGPIPE_…: see docs/settings.md. Times are in
seconds, sizes in the unit of their name, days as 2026-11-23 in LOGPIPE_TIMEZONE.

Exit statuses: 0 it is so, or was done; 1 it is not, the message says why; 2 the command was not understood;
3 the day is not over yet (seal), or something still holds the address (erase); 130 interrupted, the message
says what goes on running.

Shell completion: logpipe --install-completion

Examples:

\b
  logpipe run --pace max             the bundled log, as fast as it is acknowledged
  logpipe replay --url https://www.example.org/access.log.gz --limit 1000 --format auto
  logpipe status --json              for a program
  logpipe --target cluster verify    the same on the cluster of docker/
"""


class Place(StrEnum):
    """Where a pipeline's services are."""

    MACHINE = "machine"
    CLUSTER = "cluster"
    INSIDE = "inside"


class _Commands(TyperGroup):
    """Runs a command: what it returns is the exit status, and what may go wrong is told in words."""

    def invoke(self, ctx: Any) -> None:
        try:
            status = super().invoke(ctx)
        except SettingsError as error:  # before all that knows the others is loaded
            print(f"\n{error}", file=sys.stderr)
            status = 1
        except _expected_errors() as error:
            print(f"\n{error}", file=sys.stderr)
            status = 1
        except KeyboardInterrupt:
            print("\nInterrupted.", _what_goes_on(ctx), file=sys.stderr)
            status = INTERRUPTED
        raise typer.Exit(status or 0)


def _expected_errors() -> tuple[type[BaseException], ...]:
    from logpipe.cli.target import expected_errors

    return expected_errors()


def _what_goes_on(context: typer.Context) -> str:
    try:
        return _target(context).what_goes_on()
    except _expected_errors() as error:
        return f"What goes on running is not known: {error}"


app = typer.Typer(
    cls=_Commands,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _target(context: typer.Context) -> "MachineTarget | ClusterTarget | InsideTarget":
    """The pipeline that a command acts on; what that needs is loaded now, not for a ``--help``."""
    from logpipe import settings as project_settings
    from logpipe.cli.terminal import make_console

    settings, console = project_settings.load(), make_console()
    project_settings.must_be_checkout(f"`logpipe {context.info_name}`")
    if context.obj is Place.CLUSTER:
        from logpipe.cli.cluster import ClusterTarget

        return ClusterTarget(settings, console)
    if context.obj is Place.INSIDE:
        from logpipe.cli.inside import InsideTarget

        return InsideTarget(settings, console)
    from logpipe.cli.machine import MachineTarget

    os.umask(0o077)  # what it writes stands in the state folder, and is nobody else's
    return MachineTarget(settings, console)


def _option(name: str, help_text: str, **more: Any) -> Any:
    """An option whose value may come from `make NAME=value`, which hands it on in the environment."""
    return typer.Option(f"--{name}", help=help_text, envvar=f"MAKE_{name.upper()}", show_envvar=False, **more)


def _day(text: str) -> date:
    from logpipe.contracts.days import parsed

    try:
        return parsed(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _named(day: date | None, command: str) -> date:
    if day is None:
        raise typer.BadParameter(
            f"no day is named: `make {command} DATE=2026-11-23`, or logpipe {command} 2026-11-23"
        )
    return day


def _checked(check: Callable[[str], object], text: str) -> str:
    """The text, if the check has no word against it; the room whose value it is has the rule."""
    try:
        check(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def _pace(text: str) -> str:
    from logpipe.replayer.pace import parse_pace

    return _checked(parse_pace, text)


def _format(text: str) -> str:
    from logpipe.formats.compiler import compile_format

    return text if text in ("", "auto") else _checked(compile_format, text)


def _log(text: str) -> str:
    from logpipe.replayer.follow.store import log_path

    return _checked(log_path, text)


def _count(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_LINES))
    if not is_number or not 1 <= int(text) <= MAX_LINES:
        raise typer.BadParameter(f"{text!r} is no number of lines, expected 1 to {MAX_LINES}")
    return int(text)


def _services(context: typer.Context) -> list[str]:
    try:
        return _target(context).log_names()
    except _expected_errors():
        return []


Url = Annotated[
    str | None,
    _option(
        "url", "Log to replay, plain or gz: ftp, ftps, http, https or file URL. Default: the bundled one."
    ),
]
Pace = Annotated[
    str | None,
    _option(
        "pace",
        "delay:SECONDS between two lines, speed:FACTOR of the log's own clock, or max, as fast as "
        "acknowledged. Default: LOGPIPE_PACE.",
        parser=_pace,
        metavar="PACE",
    ),
]
Limit = Annotated[
    int | None,
    _option("limit", "Stop after so many lines. Default: all.", parser=_count, metavar="LINES"),
]
Format = Annotated[
    str | None,
    _option(
        "format",
        "How the log's lines are read: a preset such as caddy or nginx, the server's own LogFormat, "
        "log_format, #Fields line or JSON map, or auto, which looks at the first lines. Default: Combined "
        "Log Format.",
        parser=_format,
        metavar="FORMAT",
    ),
]
Addresses = Annotated[
    AddressMode | None,
    _option(
        "addresses",
        "Clients' addresses: keep, shorten (to the network) or hash (by a key). Default: LOGPIPE_ADDRESSES.",
    ),
]
Profile = Annotated[
    DeliveryProfile | None,
    _option("profile", "Delivery profile of the agents. Default: LOGPIPE_PROFILE."),
]
Connection = Annotated[
    str | None,
    _option("connection", "Airflow connection with user and password for the log's server."),
]
Day = Annotated[
    date | None,
    _option("date", "One day, such as 2026-11-23. Default: all.", parser=_day, metavar="DAY"),
]
TheDay = Annotated[
    date | None,
    typer.Argument(
        help="Such as 2026-11-23.",
        envvar="MAKE_DATE",
        show_envvar=False,
        parser=_day,
        metavar="DAY",
    ),
]


@app.callback()
def place(
    context: typer.Context,
    target: Annotated[
        Place,
        typer.Option(
            envvar="LOGPIPE_TARGET",
            help="machine: the services of this machine; cluster: those of docker/; inside: the cluster's "
            "as well, from one of its containers.",
        ),
    ] = Place.MACHINE,
) -> None:
    """Choose the pipeline that the command acts on."""
    context.obj = target


@app.command()
def up(context: typer.Context) -> int:
    """Start stores and Airflow, and wait until each does its work; what runs is left alone. Replays nothing.

    Agents, replayer and windows job come back a little later where a run of stream_services supervises them.
    Settings that have changed since the start are taken: it says which services start again for that. A start
    that fails, or is interrupted, stops what it has started.
    """
    return _target(context).up()


@app.command()
def run(
    context: typer.Context,
    url: Url = None,
    pace: Pace = None,
    limit: Limit = None,
    format_: Format = None,
    addresses: Addresses = None,
    profile: Profile = None,
    connection: Connection = None,
    run_id: Annotated[str | None, typer.Option(hidden=True)] = None,  # of a run that may be there already
) -> int:
    """Start what does not run, replay a log, and account for every line of it.

    Ends when each line is in HDFS and in the windows. A start that fails, or is interrupted, stops what it
    has started. A replay that fails leaves the services up, to look at and to go on: what was acknowledged
    stays sent.
    """
    chosen = {
        "url": url, "pace": pace, "limit": limit, "format": format_, "addresses": addresses,
        "profile": profile, "source_conn_id": connection,
    }  # fmt: skip
    conf: dict[str, object] = {name: value for name, value in chosen.items() if value is not None}
    return _target(context).run(conf, run_id)


app.command("replay", help="Replay another log: the same as run.")(run)


Log = Annotated[
    str,
    typer.Argument(
        help="Absolute path of a log, or a pattern such as /var/log/nginx/*.log.",
        envvar="MAKE_LOG",
        show_envvar=False,
        parser=_log,
        metavar="LOG",
    ),
]


class Start(StrEnum):
    """Where a followed log is begun."""

    END = "end"
    START = "start"


@app.command()
def follow(
    context: typer.Context,
    log: Log,
    format_text: Annotated[
        str,
        _option(
            "format",
            "auto, a preset such as combined, or the server's own LogFormat or log_format.",
            parser=_format,
            metavar="FORMAT",
        ),
    ] = "auto",
    start: Annotated[
        Start,
        _option("from", "end: what is written from now on; start: all that is there, old files in order."),
    ] = Start.END,
    olddir: Annotated[
        str, _option("olddir", "Where rotation puts old files, if not beside the log: logrotate's olddir.")
    ] = "",
    addresses: Addresses = None,
) -> int:
    """Follow a log as a server writes it, through every rotation; start what does not run.

    Says what it took, and returns: the log is followed until `logpipe unfollow`.

    Example: logpipe follow /var/log/nginx/access.log --format combined
    """
    return _target(context).follow(log, format_text, start.value, olddir, addresses)


@app.command()
def unfollow(context: typer.Context, log: Log) -> int:
    """Follow a log no more; what was sent stays and counts.

    Example: logpipe unfollow /var/log/nginx/access.log
    """
    return _target(context).unfollow(log)


@app.command()
def status(
    context: typer.Context, as_json: Annotated[bool, _option("json", "Print one JSON object.")] = False
) -> int:
    """Show each service, whether it does its work, and what needs a look.

    That is: lag against Kafka's retention, disks, replicas, dead letters.
    """
    return _target(context).status(as_json=as_json)


@app.command()
def verify(context: typer.Context) -> int:
    """Prove by addition that HDFS and windows hold each line of the source once.

    Reads no lines, and so takes about a second. Replays that are equal everywhere are sealed. The last line
    of output is a JSON object of counts, in lines: source, topic, hdfs, windows, lost, doubled, in_flight;
    and unknown, parts of followed logs that nobody could read any more.
    Exit status 1 when a line is lost, doubled or left half sent; in flight is no failure.
    """
    return _target(context).verify()


@app.command()
def audit(
    context: typer.Context,
    day: Day = None,
    replay: Annotated[str | None, _option("replay", "One replay, by its id. Default: all.")] = None,
) -> int:
    """Read the bytes again, where `verify` adds up sums, and name up to 20 lines that differ.

    The last line of output is a JSON object. Exit status 1 when anything differs.

    Examples: logpipe audit --date 2026-11-23; logpipe audit --replay manual-7f
    """
    return _target(context).audit(day, replay)


@app.command()
def sql(
    context: typer.Context,
    query: Annotated[
        str | None,
        typer.Argument(help="One query. Default: those of standard input."),
    ] = None,
) -> int:
    """Open DuckDB with a view of the windows at the newest commit, and one of the lines on HDFS.

    windows: window_start, dimension, key, lines, sent_bytes. lines: day (as the folder, 26-11-23), host,
    time, method, endpoint, status, sent_bytes, referrer, user_agent, vhost, latency_us, tls_protocol,
    content_type, log, malformed, line, file; ask for days, and others are not read. A file that agent 2 has
    open is there as far as the NameNode knows of it, and whole once it is closed (LOGPIPE_ROLL_INTERVAL_S).
    latencies: window_start, requests, p50_ms, p95_ms, p99_ms. Times are in UTC.

    Example: logpipe sql "SELECT key, sum(lines) FROM windows WHERE dimension = 'status' GROUP BY key"
    """
    return _target(context).sql(query)


@app.command()
def seal(context: typer.Context, day: TheDay = None) -> int:
    """Seal a day that is over: few large files, a manifest, _SUCCESS.

    The last line of output is a JSON object. Exit status 3: the day is not over yet.

    Example: logpipe seal 2026-11-23
    """
    return _target(context).seal(_named(day, "seal"))


@app.command()
def report(context: typer.Context, day: Day = None) -> int:
    """Report on a sealed day, beside its manifest on HDFS: requests, visitors, errors, hours, days before.

    Without a day each sealed day that has no report gets one, the oldest first. The DAG hdfs_partitions makes
    them by itself; the page Logs shows them. Each is told as a JSON line.

    Example: logpipe report --date 2026-11-23
    """
    return _target(context).report(day)


@app.command()
def forget(
    context: typer.Context,
    day: TheDay = None,
    replay: Annotated[
        str | None, _option("replay", "Instead of a day: a replay that stopped or failed, by its id.")
    ] = None,
) -> int:
    """Delete the lines of a sealed day from HDFS; its sums stay, so they are not lost.

    Or give a replay up that stopped or failed half sent: what it has sent stays and counts, nobody waits for
    the rest, and it cannot be gone on with.

    Examples: logpipe forget 2026-11-23; logpipe forget --replay manual-7f
    """
    if replay is not None and day is not None:
        raise typer.BadParameter(f"both the day {day} and the replay {replay} are named, expected one")
    if replay is not None:
        return _target(context).give_up(replay)
    return _target(context).forget(_named(day, "forget"))


@app.command()
def erase(
    context: typer.Context,
    address: Annotated[
        str,
        typer.Argument(
            help="An address, a host name, or a hash h-…; - has it read from the input, so that no list of "
            "processes shows it.",
            envvar="MAKE_ADDRESS",
            show_envvar=False,
        ),
    ],
    day: Day = None,
) -> int:
    """Replace a person's address in sealed days and in the windows: lines stay as many, their sums are kept.

    Also what the keys of this copy make of it, and what is set aside on this machine; the days' reports are
    made anew. Topics hold it until their retention. The last line of output is a JSON object. Exit status 3:
    days that are not sealed yet, or files that a person keeps, still hold it.

    Example: logpipe erase 203.0.113.7
    """
    return _target(context).erase(sys.stdin.readline().strip() if address == "-" else address, day)


@app.command(name="rotate-key")
def rotate_key(context: typer.Context) -> int:
    """Begin a new key for hashed addresses; logs that have begun keep theirs, and can be gone on with."""
    return _target(context).rotate_key()


@app.command()
def repair(context: typer.Context, day: Day = None) -> int:
    """Mend, as the exception: files on HDFS from the topic; lines lost on their way to Kafka are sent again.

    Works while lines arrive, one at a time, and may be killed and run again. With a day the bytes of that day
    are read. Exit status 1 when something cannot be mended; it is named, and left as it is.
    """
    return _target(context).repair(day)


@app.command()
def logs(
    context: typer.Context,
    service: Annotated[
        str | None,
        typer.Argument(
            help="kafka, namenode, flume-agent1, analytics, …; without one all are listed.",
            envvar="MAKE_SERVICE",
            show_envvar=False,
            autocompletion=_services,
        ),
    ] = None,
) -> int:
    """Show the end of a service's log, and in a terminal what is added to it. Ctrl-C leaves."""
    target = _target(context)
    if service not in target.log_names():
        known = ", ".join(target.log_names())
        what = f"there is no service {service!r} here" if service else "no service is named"
        raise typer.BadParameter(f"{what}, expected one of: {known}")
    return target.logs(service)


@app.command()
def stop(context: typer.Context) -> int:
    """Stop everything in order, the Flume agents drained first; the data stays."""
    return _target(context).stop()


@app.command()
def rotate(context: typer.Context) -> int:
    """Change passwords and keys of this machine, those of Airflow's users too; no line is lost.

    Kafka's first user, its authority, and the keys of hashed addresses (`logpipe rotate-key`) stay.

    What runs is stopped in order, as by `logpipe stop`, and runs again afterwards: replays and followed logs
    go on where they were. Who was logged in at Airflow logs in again. Killed half-way: run it again.
    """
    from logpipe.cli.machine import MachineTarget

    target = _target(context)
    if not isinstance(target, MachineTarget):
        raise typer.BadParameter("only one machine's are changed by a command: docs/operations.md, Secrets")
    return target.rotate()


@app.command()
def clean(context: typer.Context) -> int:
    """Stop everything, then delete the data, logs and secrets.

    Only of a state folder that carries this project's mark: another one is refused.
    """
    return _target(context).clean()


def main() -> None:
    """Run one command; ends the process with its exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends it so has it clean up as well
    app(prog_name="logpipe")
