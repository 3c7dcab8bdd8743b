"""Every name and number that two rooms share, validated once.

Each field is overridden by an environment variable: ``LOGPIPE_`` and the field's name in upper case
(``LOGPIPE_KAFKA_PORT=19092``). ``LOGPIPE_PORT_OFFSET`` shifts every port that is not set by itself, so
that a second copy needs two variables: the offset and ``LOGPIPE_STATE_DIR``.
"""

import os
import re
from collections.abc import Mapping
from datetime import timedelta, timezone, tzinfo
from difflib import get_close_matches
from functools import cache
from ipaddress import ip_address
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from logpipe.settings import kafka_access
from logpipe.settings.redaction import redacted, secret_in
from logpipe.settings.source_hosts import PUBLIC, SourceHosts

# A wheel has what is needed of a checkout in this folder of the package, each thing where it stands there.
_SHIPPED = Path(__file__).resolve().parents[1] / "shipped"
IS_INSTALLED = _SHIPPED.is_dir()
PROJECT_DIR = _SHIPPED if IS_INSTALLED else Path(__file__).resolve().parents[3]
_STATE_HOME = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state")

Port = Annotated[int, Field(ge=1, le=65535)]
DeliveryProfile = Literal["memory", "durable"]
TimeMode = Literal["arrival", "event"]
AddressMode = Literal["keep", "shorten", "hash"]

PREFIX = "LOGPIPE_"  # of variables of the environment that are settings
_ALIKE = 0.84  # from so much on, of 1, a name is taken for a misspelt one
DEFAULT_TOPIC = "apache_logs"
ADMIN = "admin"  # who is at Airflow as the commands, and as who runs the machine
ROLES = {"viewer": "viewer", "operator": "user", "admin": "admin"}  # and what Airflow's own login calls them
MAX_MESSAGE_BYTES = 2 << 20  # what Kafka and its clients take as one record, with key and envelope
ENVELOPE_BYTES = 64 << 10  # room for these
WATERMARKS_S: dict[TimeMode, int] = {"arrival": 5, "event": 300}


def _cron(expression: str) -> str:
    """Only what Airflow takes; where Airflow is not installed, nobody starts runs by it."""
    try:
        from croniter import croniter
    except ImportError:
        return expression
    if expression and not (len(expression.split()) == 5 and croniter.is_valid(expression)):
        raise ValueError(
            "expected a cron expression, such as 30 0 * * * (minute, hour, day of month, month, weekday)"
        )
    return expression


Cron = Annotated[str, AfterValidator(_cron)]


class SettingsError(ValueError):
    """A setting has a value that cannot work; the message names the variable and the value."""


def must_be_checkout(what: str) -> None:
    """Refuse what a wheel has not the parts for.

    Raises:
        SettingsError: this is installed from a wheel; the message says what is not there, and what to do.
    """
    if IS_INSTALLED:
        raise SettingsError(
            f"{what} needs the project's checkout (conf/, java/, docker/), and logpipe is installed as a "
            f"package in {PROJECT_DIR.parent}: clone the project and use make there. With an Airflow, a "
            "Kafka and an HDFS that are there already, the package's DAGs do it: see docs/package.md"
        )


def zone_of(name: str) -> tzinfo:
    """The zone of a name such as ``Europe/Berlin``, or of a fixed offset such as ``GMT+05:45``.

    Raises:
        ValueError: there is no such zone.
    """
    fixed = re.fullmatch(r"GMT([+-])(\d\d):(\d\d)", name)
    if fixed:
        offset = timedelta(hours=int(fixed[2]), minutes=int(fixed[3]))
        return timezone(-offset if fixed[1] == "-" else offset)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("there is no time zone of this name; Europe/Berlin or GMT+05:45 are some") from None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine to itself, by its looks: no name is looked up."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Settings(BaseSettings):
    """The pipeline's settings on one machine. Ports and names default to the original's."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    _kafka_client: dict[str, Any] | None = PrivateAttr(None)  # a connection's, which may hold a password

    host: str = Field("localhost", description="Host that every service listens on and is reached at")
    listen_beyond_loopback: bool = Field(
        False,
        description="Whether `LOGPIPE_HOST` may be no loopback address: most services ask nobody for a "
        "password, so whoever reaches them reads, writes and deletes",
    )
    port_offset: int = Field(0, ge=0, le=50000, description="Added to every port that is left at its default")
    state_dir: Path = Field(
        _STATE_HOME / "logpipe" if IS_INSTALLED else PROJECT_DIR / ".state",
        description="Data, logs and secrets of this copy",
    )

    # Ports. The first three are the original's.
    netcat_port: Port = Field(9999, description="Flume agent 1, netcat source")
    kafka_port: Port = Field(9092, description="Kafka broker")
    airflow_port: Port = Field(8080, description="Airflow's page and REST API")
    namenode_port: Port = Field(9000, description="NameNode, RPC")
    namenode_http_port: Port = Field(9870, description="NameNode, web and WebHDFS")
    datanode_port: Port = Field(9866, description="DataNode, data transfer")
    datanode_http_port: Port = Field(9864, description="DataNode, web and WebHDFS")
    datanode_ipc_port: Port = Field(9867, description="DataNode, RPC")
    kafka_controller_port: Port = Field(9093, description="Kafka's KRaft controller")
    thrift_port: Port = Field(9998, description="Flume agent 1, Thrift source (profile durable)")
    agent1_metrics_port: Port = Field(24541, description="Flume agent 1, metrics")
    agent2_metrics_port: Port = Field(
        24542, description="Flume agent 2, metrics; an agent 3 of your own has the next port, and so on"
    )
    replayer_port: Port = Field(9010, description="The replayer's HTTP interface")
    page_port: Port = Field(9011, description="The service behind the page inside Airflow")
    spark_ui_port: Port = Field(4040, description="Page and REST API of the Spark job")
    ftp_port: Port = Field(2121, description="FTP server with the bundled log")
    supervisor_port: Port = Field(
        9001, description="Process host (supervisord), XML-RPC; on loopback it has a socket instead"
    )

    # Kafka
    topic: str = Field(
        DEFAULT_TOPIC,
        pattern=r"^[a-zA-Z0-9._-]*[a-zA-Z0-9_-][a-zA-Z0-9._-]*$",
        max_length=249,
        description="Topic of log lines",
    )
    topic_partitions: int = Field(3, ge=1, le=10000, description="Partitions of the topic")
    topic_replication: int = Field(1, ge=1, le=100, description="Replicas of each partition")
    kafka_bootstrap: str = Field(
        "", description="Kafka's address, host:port, more with commas; empty: the host and the broker's port"
    )
    kafka_security_protocol: kafka_access.SecurityProtocol = Field(
        "PLAINTEXT",
        description="How Kafka is spoken to: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, or `SASL_SSL`, for which "
        "the bundled broker makes itself an authority, keys, users and rules",
    )
    kafka_sasl_mechanism: kafka_access.Mechanism = Field(
        "SCRAM-SHA-512", description="How a user's password is proved; the bundled broker knows this one"
    )
    kafka_user: str = Field(
        "logpipe-{role}",
        min_length=1,
        description="User of a program; `{role}` stands for agent1, agent2, windows, reader or airflow, "
        "without it all are one user",
    )
    kafka_password_file: str = Field(
        "",
        description="File with that user's password, one line, `{role}` as in the user; empty: the bundled "
        "broker's, in the state folder",
    )
    kafka_ca_file: str = Field(
        "",
        description="Certificates (PEM) of who vouches for Kafka; empty: the bundled broker's authority, in "
        "the state folder",
    )
    topic_retention_hours: int = Field(
        168, ge=1, le=87600, description="How long the topic keeps a record; agent 2 may be away for as long"
    )
    topic_retention_gb: int = Field(
        30,
        ge=1,
        le=1000000,
        description="Size of the topic on a broker, all partitions of one replica; "
        "the oldest records go first. Each partition has an even share",
    )
    kafka_flush_ms: int = Field(
        1000,
        ge=0,
        le=60000,
        description="The broker on one machine writes through to the disk so often; "
        "0: before each acknowledgement",
    )
    consumer_group: str = Field(
        "",
        description="Consumer group of Flume agent 2; empty: flume_consumer, and another topic's name",
    )

    # HDFS
    hdfs_url: str = Field(
        "",
        description="HDFS's address, hdfs://host:port, or hdfs://NAMESERVICE, see `LOGPIPE_HADOOP_CONF_DIR`; "
        "empty: the NameNode on the host",
    )
    webhdfs_url: str = Field(
        "",
        description="WebHDFS's, http://host:port, several NameNodes' with semicolons; empty: the NameNode on "
        "the host",
    )
    hdfs_user: str = Field(
        "bigdata", pattern=r"^[A-Za-z_][\w.-]*$", description="User that owns the pipeline's files on HDFS"
    )
    hadoop_conf_dir: str = Field(
        "",
        description="Folder with core-site.xml, hdfs-site.xml and yarn-site.xml of an HDFS and YARN that are "
        "there already; empty: what this project writes",
    )
    hadoop_ca_file: str = Field(
        "",
        description="Certificate authorities (PEM) of WebHDFS and YARN over https; empty: the public ones",
    )
    kerberos_principal: str = Field(
        "",
        pattern=r"^(|[^@\s]+@[^@/\s]+)$",
        description="Who the pipeline is to HDFS and YARN, user@REALM; empty: they take its word",
    )
    kerberos_keytab: str = Field("", description="File with the keys of `LOGPIPE_KERBEROS_PRINCIPAL`")
    hdfs_logs_dir: str = Field(
        "",
        description="Holds one directory a day, %y-%m-%d; empty: /user/bigdata/apache_logs, by the topic",
    )
    hdfs_windows_dir: str = Field(
        "", description="Window counts, Parquet; empty: /user/bigdata/apache_logs_windows"
    )
    hdfs_checkpoint_dir: str = Field(
        "", description="Progress and state of the Spark job; empty: /user/bigdata/apache_logs_checkpoint"
    )
    hdfs_ledger_dir: str = Field(
        "", description="What was sent, JSON; empty: /user/bigdata/apache_logs_ledger"
    )
    hdfs_parquet_dir: str = Field(
        "", description="Sealed days as Parquet, date=YYYY-MM-DD; empty: /user/bigdata/apache_logs_parquet"
    )
    sealed_parquet: bool = Field(
        False,
        description="A sealed day is written as Parquet too, a row a line, with what its format reads",
    )
    roll_interval_s: int = Field(300, ge=1, description="A file of agent 2 is closed after this time")

    keep_days: int = Field(0, ge=0, description="Sealed days are forgotten after so many days; 0: never")

    timezone: str = Field(
        "UTC",
        description="Zone whose midnight parts the HDFS directories; a state folder keeps the one it began "
        "with",
    )

    # Windows
    window_s: int = Field(60, ge=1, description="Length of a window")
    slide_s: int = Field(
        0, ge=0, description="Step from window to window, a divisor of the length; 0: the length"
    )
    windows_time: TimeMode = Field(
        "arrival",
        description="What dates a line in the windows: its arrival in Kafka, or event, the time in it",
    )
    windows_keys: int = Field(
        100_000,
        ge=1,
        description="Most keys of a window and dimension; of more, those with few lines count as (other)",
    )
    watermark_s: int | None = Field(
        None,
        ge=0,
        description="A window is closed when lines dated so much after its end were seen; later ones are "
        "added all the same; empty: 5 in arrival time, 300 in event time",
    )

    # Spark
    spark_master: str = Field(
        "",
        pattern=r"^(|yarn|local\[[0-9*]+\])$",
        description="Where the windows job runs: yarn, or local[TASKS] under the process host; "
        "empty: local, with a task more than cores",
    )

    # Cluster
    cluster_name: str = Field(
        "logpipe", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="Compose project of the cluster's containers"
    )
    secure: bool = Field(
        True,
        description="Whether the cluster's containers ask each other who they are; 0: to look for a fault",
    )
    secure_hadoop: bool = Field(
        True,
        description="Whether the cluster's HDFS and YARN ask for Kerberos, where `LOGPIPE_SECURE` is on",
    )

    # Replay
    replays_on: Literal["host", "hdfs"] = Field(
        "host",
        description="Where the records of replays are looked for: on the host, or in their copies on HDFS, "
        "where another host may go on with them",
    )
    source_url: str = Field("", description="Log to replay; empty: the bundled one, from the FTP server")
    source_conn_id: str = Field(
        "", description="Airflow connection with user and password for the log's server; empty: none"
    )
    file_roots: str = Field(
        "",
        description="Folders, with colons between them, below which files may be replayed, but for hidden "
        "ones and the state folder; empty: `/var/log`, the project's folder, the home of who runs it",
    )
    source_hosts: str = Field(
        PUBLIC,
        description="Servers that may be asked for a log besides that of `LOGPIPE_SOURCE_URL`, with commas: "
        "names, addresses, networks, each with `:port` if only that; `public` stands for all addresses "
        "of the Internet, so that loopback, link-local and private ones have to be named",
    )
    max_unpacked_gb: int = Field(
        100, ge=1, description="A gz file is given up behind so many unpacked gigabytes (2^30 bytes)"
    )
    max_unpacked_lines: int = Field(
        1_000_000_000, ge=1, description="A gz file is given up behind so many lines"
    )
    pace: str = Field(
        "speed:600",
        pattern=r"^(max|(delay|speed):[0-9.]+)$",
        description="delay:SECONDS, speed:FACTOR or max",
    )
    profile: DeliveryProfile = Field("durable", description="Delivery profile of the agents")
    addresses: AddressMode = Field(
        "keep",
        description="What becomes of clients' addresses in a log that begins: keep, shorten (IPv4 to 24 "
        "bits, IPv6 to 48, a name to its last labels) or hash (by a key of the state folder)",
    )
    address_keys_file: str = Field(
        "",
        description="Keys by which addresses are hashed; replayers that go on with each other's logs need "
        "the same; empty: address_keys.json in the state folder",
    )
    max_line_bytes: int = Field(
        1048576,
        ge=1,
        le=MAX_MESSAGE_BYTES - ENVELOPE_BYTES,
        description="A longer line is set aside, not sent; Kafka's limit is 2 MiB with key and envelope",
    )
    keep_free_mb: int = Field(
        500,
        ge=0,
        description="The replayer sends no line while a disk of the state folder, of `kafka` or of `hadoop` "
        "in it has less free",
    )

    # Followed logs
    follow_quiet_s: float = Field(
        1.0,
        ge=0,
        le=3600,
        description="A file that was rotated away has to be quiet so long before lines of the next are sent",
    )
    follow_end_s: float = Field(
        60.0,
        ge=0,
        le=86400,
        description="A file that was rotated away and quiet for so long is over: an unfinished last line is "
        "sent as it is",
    )
    follow_reopen_s: float = Field(
        3600.0,
        ge=0,
        le=86400,
        description="A file that is over is kept open for so long, in case that a server still writes to it",
    )

    # Who logs in at Airflow
    airflow_users: str = Field(
        "operator:operator,viewer:viewer",
        description="Who logs in at Airflow on one machine besides `admin`: NAME:ROLE, with commas; viewer "
        "looks, operator also triggers and stops, admin also has connections and variables",
    )

    # When Airflow starts runs by itself: cron expressions, in ``timezone``
    maintenance_schedule: Cron = Field(
        "45 3 * * *", description="Checkpoint of the NameNode, old runs and logs"
    )
    services_schedule: Cron = Field("", description="Runs of stream_services; empty: by hand only")
    replay_schedule: Cron = Field("", description="Replays of the source; empty: by hand only")
    partitions_schedule: Cron = Field("30 0 * * *", description="Sealing of the day before")

    alerts_file: str = Field(
        "", description="Rules of alerts that differ from conf/alerts.toml, and who is told; empty: none"
    )

    sealed_within_hours: int = Field(
        4, ge=1, le=168, description="A day whose run of hdfs_partitions takes longer is an alert"
    )

    keep_runs_days: int = Field(
        30,
        ge=7,
        le=3650,
        description="Runs that have ended, and logs of tasks, are kept in Airflow so long; then a replay "
        "that stopped half sent is given up",
    )

    # Memory of the Java processes
    kafka_heap_mb: int = Field(512, ge=128, description="Heap of the broker")
    namenode_heap_mb: int = Field(256, ge=64, description="Heap of the NameNode")
    datanode_heap_mb: int = Field(256, ge=64, description="Heap of the DataNode")
    flume_heap_mb: int = Field(
        512, ge=64, description="Heap of each Flume agent; holds the 100,000 events of a memory channel"
    )
    spark_heap_mb: int = Field(1024, ge=512, description="Heap of the Spark driver")

    @field_validator("watermark_s", mode="before")
    @classmethod
    def _may_be_empty(cls, seconds: object) -> object:
        return None if seconds == "" else seconds

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        zone_of(name)
        return name

    @field_validator("source_url")
    @classmethod
    def _has_no_secret(cls, url: str) -> str:
        if found := secret_in(url):
            raise ValueError(f"it holds {found}: put that into the connection LOGPIPE_SOURCE_CONN_ID")
        return _of_form(url, r"(ftps?|https?|file)://\S+", "an ftp, ftps, http, https or file URL")

    @field_validator("kafka_bootstrap")
    @classmethod
    def _are_brokers(cls, addresses: str) -> str:
        return _of_form(addresses, r"[^,;/\s]+:\d+(, *[^,;/\s]+:\d+)*", "host:port, more with commas")

    @field_validator("hdfs_url")
    @classmethod
    def _is_hdfs(cls, url: str) -> str:
        return _of_form(url, r"hdfs://[^/\s]+/?", "hdfs://host:port, or hdfs://nameservice")

    @field_validator("webhdfs_url")
    @classmethod
    def _are_namenodes(cls, addresses: str) -> str:
        one = r"https?://[^;/\s]+:\d+(/[^;\s]*)?"
        return _of_form(addresses, f"{one}(;{one})*", "http://host:port, more with semicolons")

    @field_validator("airflow_users")
    @classmethod
    def _have_roles(cls, users: str) -> str:
        names = []
        for user in filter(None, users.split(",")):
            name, _, role = user.partition(":")
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name) or role not in ROLES:
                raise ValueError(
                    f"{user!r} is no user: expected NAME:ROLE, with a role of {', '.join(ROLES)}"
                )
            names.append(name)
        if doubled := {name for name in names if name == ADMIN or names.count(name) > 1}:
            raise ValueError(
                f"{', '.join(sorted(doubled))} is named twice: each user has one role, and {ADMIN} is there "
                "anyway, since the commands log in as that"
            )
        return users

    @field_validator("file_roots")
    @classmethod
    def _are_folders(cls, folders: str) -> str:
        if any(not folder.startswith("/") for folder in folders.split(":") if folder):
            raise ValueError(
                "expected absolute folders with colons between them, such as /var/log:/data/logs"
            )
        return folders

    @field_validator("source_hosts")
    @classmethod
    def _are_hosts(cls, hosts: str) -> str:
        SourceHosts.parse(hosts)
        return hosts

    @model_validator(mode="after")
    def _shift_ports(self) -> "Settings":
        """Apply the offset and refuse two services on one port."""
        names = [name for name in type(self).model_fields if name.endswith("_port")]
        for name in names:
            if name not in self.model_fields_set:
                object.__setattr__(self, name, getattr(self, name) + self.port_offset)
        taken: dict[int, str] = {}
        for name in names:
            port = getattr(self, name)
            if port > 65535:
                raise ValueError(
                    f"{name} is {port} with the offset {self.port_offset}: the last port is 65535"
                )
            if port in taken:
                raise ValueError(f"{name} and {taken[port]} are both {port}: give one of them another port")
            taken[port] = name
        return self

    @model_validator(mode="after")
    def _fill_addresses(self) -> "Settings":
        """Give each address that is not set the host and its port."""
        addresses = self.own_addresses | {
            "kafka_password_file": f"{self.kafka_access_dir}/{{role}}.password",
            "kafka_ca_file": f"{self.kafka_access_dir}/ca.pem",
        }
        for name, address in addresses.items():
            object.__setattr__(self, name, getattr(self, name) or address)
        return self

    @property
    def own_addresses(self) -> dict[str, str]:
        """The settings that lead to Kafka and HDFS, as they are for those that are started on one machine."""
        return {
            "kafka_bootstrap": f"{self.host}:{self.kafka_port}",
            "hdfs_url": f"hdfs://{self.host}:{self.namenode_port}",
            "webhdfs_url": f"http://{self.host}:{self.namenode_http_port}",
            "hadoop_conf_dir": "",
        }

    @model_validator(mode="after")
    def _fill_names(self) -> "Settings":
        """Give the topic group and folders of its own, where they are not set."""
        home = f"/user/{self.hdfs_user}/{self.topic}"
        group = "flume_consumer" if self.topic == DEFAULT_TOPIC else f"flume_consumer_{self.topic}"
        names = {
            "consumer_group": group,
            "hdfs_logs_dir": home,
            "hdfs_windows_dir": f"{home}_windows",
            "hdfs_checkpoint_dir": f"{home}_checkpoint",
            "hdfs_ledger_dir": f"{home}_ledger",
            "hdfs_parquet_dir": f"{home}_parquet",
            "slide_s": self.window_s,
            "watermark_s": WATERMARKS_S[self.windows_time] if self.watermark_s is None else self.watermark_s,
        }
        for name, value in names.items():
            object.__setattr__(self, name, getattr(self, name) or value)
        return self

    @model_validator(mode="after")
    def _stay_on_loopback(self) -> "Settings":
        """Refuse to be reached by others unless that was asked for by name."""
        if not self.listen_beyond_loopback and not is_loopback(self.host):
            raise ValueError(
                f"LOGPIPE_HOST is {self.host}, which is no loopback address: whoever reaches it could read, "
                "write and delete everything, since most services ask for no password. Leave it at "
                "localhost, or say LOGPIPE_LISTEN_BEYOND_LOOPBACK=1 where the network keeps others away"
            )
        return self

    @model_validator(mode="after")
    def _has_keys(self) -> "Settings":
        """Refuse a principal without keys, and one that is not who owns the pipeline's files."""
        principal, keytab = self.kerberos_principal, self.kerberos_keytab
        if bool(principal) != bool(keytab):
            raise ValueError(
                f"LOGPIPE_KERBEROS_PRINCIPAL is {principal or 'empty'}, LOGPIPE_KERBEROS_KEYTAB is "
                f"{keytab or 'empty'}: set both, or neither where HDFS asks for no proof"
            )
        owner = re.split("[/@]", principal)[0]
        if principal and owner != self.hdfs_user:
            raise ValueError(
                f"LOGPIPE_KERBEROS_PRINCIPAL is {principal}, to HDFS that is user {owner}, and "
                f"LOGPIPE_HDFS_USER is {self.hdfs_user}: let both be the same user"
            )
        return self

    @model_validator(mode="after")
    def _fit_together(self) -> "Settings":
        """Refuse settings that are fine by themselves and cannot work together."""
        if self.window_s % self.slide_s:
            raise ValueError(
                f"slide_s is {self.slide_s}, expected a divisor of window_s, {self.window_s}, "
                "so that all lines are in equally many windows"
            )
        folders = tuple(name for name in type(self).model_fields if re.fullmatch(r"hdfs_\w+_dir", name))
        for name in folders:
            path = getattr(self, name)
            if not re.fullmatch(r"(/[^/]+)+", path) or re.search(r"/[_.]", path):
                raise ValueError(
                    f"{name} is {path}, expected an absolute path on HDFS; no part may begin with _ or ., "
                    "which Hadoop's readers skip"
                )
        for name, other in permutations(folders, 2):
            if f"{getattr(self, name)}/".startswith(f"{getattr(self, other)}/"):
                raise ValueError(
                    f"{name}, {getattr(self, name)}, is inside of {other}, {getattr(self, other)}: "
                    "give one of them another folder"
                )
        return self

    def port(self, name: str) -> int:
        """The port of a name such as ``kafka_port``; a third agent's metrics are behind the second's."""
        agent = re.fullmatch(r"agent(\d+)_metrics_port", name)
        if agent and name not in type(self).model_fields:
            return self.agent2_metrics_port + int(agent[1]) - 2
        return int(getattr(self, name))

    @property
    def windows_topic(self) -> str:
        """Where the windows job writes rows, unless it is told another one."""
        return f"{self.topic}_windows"

    @property
    def dead_letters_topic(self) -> str:
        """Where the windows job keeps lines that did not parse, unless it is told another one."""
        return f"{self.topic}_dead_letters"

    @property
    def has_kerberos(self) -> bool:
        """Whether the cluster's HDFS and YARN ask for a proof."""
        return self.secure and self.secure_hadoop

    @property
    def hadoop_scheme(self) -> str:
        """How the pages of HDFS and YARN are asked: all of them as WebHDFS is."""
        return "https" if self.webhdfs_url.startswith("https:") else "http"

    @property
    def bind_address(self) -> str:
        """What a server listens on: loopback by its number where that is the host, or else the host."""
        return "127.0.0.1" if self.host == "localhost" else self.host

    @property
    def kafka_access_dir(self) -> Path:
        """What the bundled broker's users, and their programs, are let in with."""
        return self.state_dir.expanduser().resolve() / kafka_access.FOLDER

    def kafka_client(self, role: kafka_access.Role) -> dict[str, Any]:
        """Configuration of a librdkafka client: that of a connection, see `at_kafka`, or the role's.

        Raises:
            kafka_access.KafkaAccessError: the role's password cannot be read.
        """
        return dict(self._kafka_client or kafka_access.python_client(self, role))

    def at_kafka(self, client: Mapping[str, Any]) -> "Settings":
        """The same settings, with Kafka spoken to as a librdkafka client's configuration says."""
        here = self.model_copy(update={"kafka_bootstrap": client["bootstrap.servers"]})
        here._kafka_client = dict(client)
        return here

    @property
    def process_host(self) -> str:
        """Where the process host is asked: its socket on this machine, or else the host."""
        if not is_loopback(self.host):
            return self.host
        return str(self.state_dir.expanduser().resolve() / "host.sock")

    @property
    def store_folders(self) -> list[Path]:
        """Where lines are stored on this machine; each may be a disk of its own."""
        folder = self.state_dir.expanduser().resolve()
        return [each for each in (folder, folder / "kafka", folder / "hadoop") if each.is_dir()]

    @property
    def file_root_folders(self) -> list[Path]:
        """Below these, files may be replayed."""
        if self.file_roots:
            return [Path(folder) for folder in self.file_roots.split(":") if folder]
        home = Path(os.path.expanduser("~"))  # some users have none, or the root
        project = [] if IS_INSTALLED else [PROJECT_DIR]
        return [Path("/var/log"), *project, *([home] if home.is_absolute() and home != Path("/") else [])]

    @property
    def roles(self) -> dict[str, str]:
        """The role of each who logs in at Airflow, by name."""
        return {ADMIN: "admin"} | dict(user.split(":") for user in self.airflow_users.split(",") if user)

    @property
    def spark_application(self) -> str:
        """Name of the windows job on YARN: one application a checkpoint."""
        return f"logpipe windows {self.hdfs_checkpoint_dir}"

    @property
    def hdfs_console_file(self) -> str:
        """Where the windows job on YARN puts what it prints last: nobody else can show that of a driver."""
        return f"{self.hdfs_checkpoint_dir}/console.txt" if self.spark_master == "yarn" else ""

    @property
    def replay_url(self) -> str:
        """The log to replay: ``source_url``, or the bundled log on this copy's FTP server."""
        return self.source_url or f"ftp://{self.host}:{self.ftp_port}/NASA_access_log_Aug95.first20000.gz"


def _of_form(addresses: str, pattern: str, form: str) -> str:
    if addresses and not re.fullmatch(pattern, addresses):
        raise ValueError(f"expected {form}")
    return addresses


@cache
def load() -> Settings:
    """Read the settings from the environment, once a process.

    Raises:
        SettingsError: a value is not valid; the message names each variable, its value and what is wrong.
            Or a variable is all but named as a setting.
    """
    names = {name.upper() for name in Settings.model_fields}
    given = {name.removeprefix(PREFIX) for name in os.environ if name.startswith(PREFIX)}
    for name in sorted(given - names):
        for meant in get_close_matches(name, names, 1, _ALIKE):
            raise SettingsError(
                f"{PREFIX}{name} is no setting, and {PREFIX}{meant} is: docs/settings.md lists all of them"
            )
    return parse()


def parse(**overrides: Any) -> Settings:
    """Build settings from the environment and ``overrides``; errors as in `load`."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            field = "_".join(str(part) for part in item["loc"]).upper()
            value = redacted(str(item["input"]))
            name = f"LOGPIPE_{field}={value}: " if field else ""
            text = item["msg"].removeprefix("Value error, ")
            if field and item["type"] != "value_error":
                text += f" ({Settings.model_fields[str(item['loc'][0])].description})"
            lines.append(f"{name}{text}")
        raise SettingsError("\n".join(lines)) from None
