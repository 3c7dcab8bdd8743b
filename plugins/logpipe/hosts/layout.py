"""Where one copy of the pipeline keeps its things, and the secrets it generated."""

import json
import os
import secrets
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from logpipe.settings import DEFAULT_TOPIC, PROJECT_DIR, Settings

BUILD_DIR = PROJECT_DIR / "build"
CONF_DIR = PROJECT_DIR / "conf"
PYTHON = PROJECT_DIR / ".venv" / "bin" / "python"
AIRFLOW = PROJECT_DIR / ".venv" / "bin" / "airflow"

USER = "logpipe"  # login of the process host and of the replayer
AIRFLOW_USER = "admin"


FORMAT = 2  # of the state folder; 1, of version 0.1.0, said nothing


class LayoutError(Exception):
    """The state folder is another version's; the message says which, and the ways out."""


@dataclass(frozen=True)
class Layout:
    """Paths of one copy, all below its state folder."""

    state_dir: Path

    @classmethod
    def of(cls, settings: Settings) -> "Layout":
        """Layout of the copy that the settings describe."""
        return cls(settings.state_dir.expanduser().resolve())

    @property
    def secrets_file(self) -> Path:
        """Generated passwords and keys, mode 600."""
        return self.state_dir / "secrets.json"

    @property
    def conf_dir(self) -> Path:
        """Rendered configurations."""
        return self.state_dir / "conf"

    @property
    def logs_dir(self) -> Path:
        """One log a service."""
        return self.state_dir / "logs"

    @property
    def airflow_dir(self) -> Path:
        """Airflow's home."""
        return self.state_dir / "airflow"

    @property
    def kafka_dir(self) -> Path:
        """Kafka's log segments."""
        return self.state_dir / "kafka"

    @property
    def hadoop_dir(self) -> Path:
        """Metadata of the NameNode, blocks of the DataNode."""
        return self.state_dir / "hadoop"

    @property
    def supervisor_conf(self) -> Path:
        """The process host's configuration, mode 600."""
        return self.conf_dir / "supervisord.conf"

    @property
    def format_file(self) -> Path:
        """Tells the format of the state folder."""
        return self.state_dir / "layout.json"

    def claim(self, topic: str) -> None:
        """Mark a new state folder with this version's format and the topic, or check the mark of an old one.

        Raises:
            LayoutError: it holds the data of a version with another format, or another topic's. Nothing is
                changed.
        """
        if self.format_file.exists():
            mark = json.loads(self.format_file.read_text())
            found = mark.get("version")
            its_topic = mark.get("topic", DEFAULT_TOPIC)
            if its_topic != topic:
                raise LayoutError(
                    f"{self.state_dir} belongs to topic {its_topic}, asked for is {topic}: set "
                    "LOGPIPE_STATE_DIR to a folder of its own (and LOGPIPE_PORT_OFFSET, to run both)"
                )
        elif (self.kafka_dir / "meta.properties").exists() or (self.hadoop_dir / "name").exists():
            found = 1
        else:
            write_private(self.format_file, json.dumps({"version": FORMAT, "topic": topic}) + "\n")
            return
        if found != FORMAT:
            raise LayoutError(
                f"{self.state_dir} holds data of format {found}, expected {FORMAT}: another version wrote "
                "it, and its files on HDFS do not say what they hold. Finish and stop with that version, "
                "keep the folder as it is, and set LOGPIPE_STATE_DIR to a new one here; "
                "or delete it with `make clean`."
            )

    def make_dirs(self) -> None:
        """Create the folders, readable by their owner only."""
        for path in (
            self.state_dir,
            self.conf_dir,
            self.logs_dir,
            self.airflow_dir,
            self.kafka_dir,
            self.hadoop_dir,
        ):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def secrets(self) -> dict[str, str]:
        """Read the secrets; generate those that do not exist yet."""
        known: dict[str, str] = {}
        if self.secrets_file.exists():
            known = json.loads(self.secrets_file.read_text())
        fresh = {
            "airflow_admin_password": secrets.token_urlsafe(12),
            "process_host_password": secrets.token_urlsafe(24),
            "replayer_password": secrets.token_urlsafe(24),
            "airflow_fernet_key": urlsafe_b64encode(os.urandom(32)).decode(),
            "airflow_jwt_secret": secrets.token_urlsafe(48),
            "airflow_session_secret": secrets.token_urlsafe(48),
        }
        if fresh.keys() - known.keys():
            known = fresh | known
            write_private(self.secrets_file, json.dumps(known, indent=2) + "\n")
        return known


def write_private(path: Path, text: str) -> bool:
    """Write a file that only its owner can read, in one step; tells whether its content changed."""
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    return True


def new_kafka_cluster_id() -> str:
    """A new cluster id; none begins with a dash, which Kafka's tool takes for an option."""
    return urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
