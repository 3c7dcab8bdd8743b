"""Where one copy of the pipeline keeps its things, and the secrets it generated."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logpipe.settings import ADMIN, DEFAULT_TOPIC, PROJECT_DIR, Settings
from logpipe.settings.durable import replace_file
from logpipe.settings.kafka_access import FOLDER as KAFKA_ACCESS_FOLDER
from logpipe.settings.kafka_access import ROLES as KAFKA_ROLES
from logpipe.settings.unreadable import UNREADABLE

BUILD_DIR = PROJECT_DIR / "build"
CONF_DIR = PROJECT_DIR / "conf"
PYTHON = PROJECT_DIR / ".venv" / "bin" / "python"
AIRFLOW = PROJECT_DIR / ".venv" / "bin" / "airflow"

USER = "logpipe"  # login of the process host and of the replayer
AIRFLOW_USER = ADMIN


FORMAT = 2  # of the state folder; 1, of version 0.1.0, said nothing
FERNET_KEY = "airflow_fernet_key"  # the newest; behind it with commas those before, while they are needed
CLUSTER_FOLDER = "cluster"  # in the state folder; its data is in the engine's volumes
# What may be there before a machine's pipeline is.
_OF_A_DISK = "lost+found"  # the root of an ext4 file system has it
ALSO_HERE = {CLUSTER_FOLDER, "sealing.lock", "address_keys.json", _OF_A_DISK}


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

    def password_file(self, user: str) -> Path:
        """The password of somebody who logs in at Airflow, and nothing else, to be handed over; mode 600."""
        return self.state_dir / "logins" / user

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
    def kafka_access_dir(self) -> Path:
        """The bundled broker's authority, its key, its users' passwords; empty unless it is secured."""
        return self.state_dir / KAFKA_ACCESS_FOLDER

    @property
    def hadoop_dir(self) -> Path:
        """Metadata of the NameNode, blocks of the DataNode."""
        return self.state_dir / "hadoop"

    def login_file(self, role: str) -> Path:
        """With what a Java program of a role logs in to Kafka."""
        return self.conf_dir / "kafka" / f"{role}.login"

    @property
    def supervisor_conf(self) -> Path:
        """The process host's configuration, mode 600."""
        return self.conf_dir / "supervisord.conf"

    @property
    def format_file(self) -> Path:
        """Tells the format of the state folder."""
        return self.state_dir / "layout.json"

    def mark(self) -> dict[str, Any] | None:
        """What the folder says of itself: version, topic, timezone; None where this project never was."""
        with contextlib.suppress(OSError, *UNREADABLE):
            mark = json.loads(self.format_file.read_text())
            return mark if isinstance(mark, dict) and isinstance(mark.get("version"), int) else None
        of_first = (self.kafka_dir / "meta.properties", self.hadoop_dir / "name", self.state_dir / "secrets")
        is_first = self.secrets_file.exists() and any(path.exists() for path in of_first)
        return {"version": 1} if is_first else None

    def claim(self, topic: str, timezone: str) -> None:
        """Mark a new state folder with the format, the topic, and the zone of days, or check an old mark.

        Raises:
            LayoutError: it holds the data of a version with another format, of another topic or zone, or of
                somebody else. Nothing is changed.
        """
        mark = self.mark()
        own = {"version": FORMAT, "topic": topic, "timezone": timezone}
        if mark is None:
            self._refuse_others()
            write_private(self.format_file, json.dumps(own) + "\n")
            return
        its_topic = mark.get("topic", DEFAULT_TOPIC)
        if mark["version"] != FORMAT:
            raise LayoutError(
                f"{self.state_dir} holds data of format {mark['version']}, expected {FORMAT}: another "
                "version wrote it, and its files on HDFS do not say what they hold. Finish and stop with "
                "that version, keep the folder as it is, and set LOGPIPE_STATE_DIR to a new one here; "
                "or delete it with `make clean` (of a cluster: `make cluster-down VOLUMES=1`)."
            )
        if its_topic != topic:
            raise LayoutError(
                f"{self.state_dir} belongs to topic {its_topic}, asked for is {topic}: set "
                "LOGPIPE_STATE_DIR to a folder of its own (and LOGPIPE_PORT_OFFSET, to run both)"
            )
        its_zone = mark.get("timezone", timezone)
        if its_zone != timezone:
            raise LayoutError(
                f"{self.state_dir} has the days of LOGPIPE_TIMEZONE={its_zone}, asked for is {timezone}: a "
                "day that is sealed would get lines of another. Leave the zone as it was, or set "
                "LOGPIPE_STATE_DIR to a folder of its own"
            )
        if "timezone" not in mark:  # of a version that did not keep it
            write_private(self.format_file, json.dumps(own) + "\n")

    def _refuse_others(self) -> None:
        """A folder that holds anything else would go with `make clean`."""
        own = {path.name for path in self._folders if not _holds_something(path)}
        there = sorted({path.name for path in self.state_dir.glob("*")} - ALSO_HERE - own)
        if there:
            raise LayoutError(
                f"{self.state_dir} holds what is not this project's ({', '.join(there[:5])}…): set "
                "LOGPIPE_STATE_DIR to a new folder, or to an empty one"
            )

    def check_own(self) -> None:
        """Look whether the folder may be deleted.

        Raises:
            LayoutError: it carries no mark of this project, or holds a place to live in.
        """
        if self.mark() is None:
            raise LayoutError(
                f"{self.state_dir} is not deleted: nothing in it says that it is this project's "
                f"({self.format_file.name} is not there). See what LOGPIPE_STATE_DIR is set to; to delete it "
                "all the same, do so by hand"
            )
        homes = {Path.home().resolve(), PROJECT_DIR, Path.cwd()}
        if any(home.is_relative_to(self.state_dir) for home in homes):
            raise LayoutError(
                f"{self.state_dir} is not deleted: it holds a home, this project or the folder where you "
                "are. Set LOGPIPE_STATE_DIR to a folder of its own"
            )

    def delete(self) -> list[Path]:
        """Delete data, logs and secrets; give what was left alone, which is the cluster's.

        Raises:
            LayoutError: as `check_own`; nothing is deleted.
        """
        self.check_own()
        kept = []
        # The mark goes last: what is left of a deletion that was killed can be deleted.
        for path in sorted(self.state_dir.iterdir(), key=lambda path: path == self.format_file):
            if path.name == CLUSTER_FOLDER:
                kept.append(path)
            elif path.name == _OF_A_DISK:
                continue
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        is_disk = self.state_dir.is_mount() or (self.state_dir / _OF_A_DISK).exists()
        if not kept and not is_disk:
            self.state_dir.rmdir()
        return kept

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (
            self.conf_dir,
            self.logs_dir,
            self.airflow_dir,
            self.kafka_dir,
            self.kafka_access_dir,
            self.hadoop_dir,
        )

    @contextlib.contextmanager
    def starting_alone(self, wait: Callable[[], object]) -> Iterator[None]:
        """Keep other commands from starting anything meanwhile; ``wait`` is called when one is at it.

        Raises:
            LayoutError: the state folder is not there, and can't be made.
        """
        _make(self.state_dir)
        folder = os.open(self.state_dir, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                wait()
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def make_dirs(self) -> None:
        """Create the folders, readable by their owner only, and close those that were there before."""
        for path in (self.state_dir, *self._folders):
            _make(path)
            with contextlib.suppress(PermissionError):  # a disk that is mounted there may be another user's
                path.chmod(0o700)

    def passwords(self, users: Collection[str]) -> dict[str, str]:
        """The passwords of those who log in at Airflow; made for who has none, deleted of who is no user."""
        found = {AIRFLOW_USER: self.secrets()["airflow_admin_password"]}
        for user in set(users) - {AIRFLOW_USER}:
            path = self.password_file(user)
            if not path.exists():
                write_private(path, secrets.token_urlsafe(12) + "\n")
            found[user] = path.read_text().strip()
        for path in self.password_file("").glob("*"):
            if path.name not in found:
                path.unlink()
        return found

    def secrets(self) -> dict[str, str]:
        """Read the secrets; generate those that do not exist yet."""
        known: dict[str, str] = {}
        if self.secrets_file.exists():
            try:
                known = dict(json.loads(self.secrets_file.read_text()))
            except UNREADABLE as error:
                raise LayoutError(
                    f"{self.secrets_file} is damaged ({error}): bring it back from a backup; or delete it "
                    "once nothing runs, then `make run` makes new secrets, and what Airflow has encrypted by "
                    "the old ones is lost"
                ) from None
        fresh = _fresh_secrets()
        if fresh.keys() - known.keys():
            known = fresh | known
            self._write(known)
        return known

    def renew_secrets(self) -> None:
        """Make all secrets anew, and the passwords of Airflow's users; for when nothing of this copy runs.

        What Airflow has encrypted needs the keys before the new one, until `drop_old_keys`. Of a Kafka that
        asks for passwords, the first user's and the authority stay: it is by them that it takes the new ones.
        Keys of hashed addresses stay too, or nobody could find a hash again.
        """
        known = self.secrets()
        fresh = _fresh_secrets()
        keys = f"{fresh[FERNET_KEY]},{known[FERNET_KEY]}"
        self._write(known | fresh | {FERNET_KEY: keys})
        shutil.rmtree(self.password_file(""), ignore_errors=True)
        for role in KAFKA_ROLES:
            (self.kafka_access_dir / f"{role}.password").unlink(missing_ok=True)

    def drop_old_keys(self) -> None:
        """Forget the keys before the newest one."""
        known = self.secrets()
        self._write(known | {FERNET_KEY: known[FERNET_KEY].partition(",")[0]})

    def _write(self, known: dict[str, str]) -> None:
        write_private(self.secrets_file, json.dumps(known, indent=2) + "\n")


def _fresh_secrets() -> dict[str, str]:
    return {
        "airflow_admin_password": secrets.token_urlsafe(12),
        "process_host_password": secrets.token_urlsafe(24),
        "replayer_password": secrets.token_urlsafe(24),
        "page_password": secrets.token_urlsafe(24),
        FERNET_KEY: urlsafe_b64encode(os.urandom(32)).decode(),
        "airflow_jwt_secret": secrets.token_urlsafe(48),
        "airflow_session_secret": secrets.token_urlsafe(48),
    }


def _holds_something(folder: Path) -> bool:
    """Whether anything is in a folder; a disk that is mounted there brings an empty one of its own."""
    return any(path.name != "lost+found" for path in folder.glob("*"))


def write_private(path: Path, text: str) -> bool:
    """Write a file that only its owner can read, in one step; tells whether its content changed."""
    if path.exists() and path.read_text() == text:
        return False
    _make(path.parent)
    replace_file(path, text, mode=0o600)
    return True


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LayoutError(
            f"{folder} can't be made ({error.strerror}): set LOGPIPE_STATE_DIR to a folder that can be "
            "written"
        ) from None


def new_kafka_cluster_id() -> str:
    """A new cluster id; none begins with a dash, which Kafka's tool takes for an option."""
    return urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
