"""A day's places on HDFS, and what may happen there."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from logpipe.accounting.chain import ChainReader
from logpipe.clients.hdfs import Hdfs, HdfsAbsentError, HdfsExistsError, dumps
from logpipe.contracts.chain import Layout
from logpipe.contracts.days import end_of_day_ms, name_of
from logpipe.contracts.parquet import parquet_folder
from logpipe.contracts.sealed import MANIFEST_FILE, SUCCESS_FILE, SealedDay
from logpipe.settings import Settings

Reached = Callable[[str], None]  # told about each step; the batch program may die there


def nowhere(step: str) -> None:
    """Go on."""
    del step


def new_attempt() -> str:
    """A name that nobody else has."""
    return secrets.token_hex(4)


@dataclass(frozen=True)
class Place:
    """One day of the logs."""

    hdfs: Hdfs
    settings: Settings
    day: date

    @property
    def name(self) -> str:
        """``%y-%m-%d``."""
        return name_of(self.day)

    @property
    def layout(self) -> Layout:
        """Where what is."""
        return Layout(self.settings.hdfs_logs_dir)

    @property
    def reader(self) -> ChainReader:
        """Reads the chains and the sums of sealed days."""
        return ChainReader(self.hdfs, self.layout.root)

    @property
    def folder(self) -> str:
        """Where readers find the day's lines."""
        return self.layout.day(self.name)

    @property
    def parquet(self) -> str:
        """Where its lines stand as Parquet, if they do."""
        return parquet_folder(self.settings, self.day)

    @property
    def parquet_attempts(self) -> str:
        """Begins the paths of folders in which Parquet of it is being written."""
        return f"{self.settings.hdfs_parquet_dir}/_{self.day.isoformat()}."

    def drop_parquet_attempts(self) -> None:
        """Delete what a kill left half written."""
        folder = self.settings.hdfs_parquet_dir
        for entry in self.hdfs.list(folder):
            if f"{folder}/{entry.name}".startswith(self.parquet_attempts):
                self.hdfs.delete(f"{folder}/{entry.name}")

    @property
    def sealing(self) -> str:
        """Where it is sealed or repaired, a folder an attempt."""
        return self.layout.sealing(self.name)

    @property
    def between_ms(self) -> tuple[int, int]:
        """Its first instant and the one after its last, Unix time."""
        zone = self.settings.timezone
        return end_of_day_ms(self.day - timedelta(days=1), zone), end_of_day_ms(self.day, zone)

    def load(self) -> SealedDay | None:
        """Its sums; None while it is not sealed. Raises as `ChainReader.sealed`."""
        return self.reader.sealed(self.name)

    def save(self, sealed: SealedDay, *, overwrite: bool) -> None:
        """Write its sums at once.

        Raises:
            HdfsExistsError: it is sealed already, and ``overwrite`` is not set.
        """
        self.hdfs.make_folder(self.layout.sealed_days)
        temporary = f"{self.layout.sealed_days}/_{self.name}.{new_attempt()}.tmp"
        self.hdfs.write(temporary, dumps(sealed.to_json()))
        try:
            self.hdfs.rename(temporary, self.layout.sealed(self.name), overwrite=overwrite)
        except HdfsExistsError:
            self.hdfs.delete(temporary)
            raise

    def write_manifest(self, folder: str, sealed: SealedDay) -> None:
        """Write the manifest, and then the mark that others wait for, into a folder."""
        self.hdfs.write(f"{folder}/{MANIFEST_FILE}", dumps(sealed.to_json()), overwrite=True)
        self.hdfs.write(f"{folder}/{SUCCESS_FILE}", b"", overwrite=True)

    def put_aside(self, path: str) -> str:
        """Keep a file for a person; returns where, or nothing when it has gone by itself."""
        aside = self.layout.aside(self.name)
        self.hdfs.make_folder(aside)
        name = path.rpartition("/")[2].lstrip("_")
        for target in (f"{aside}/{name}", f"{aside}/{name}.{new_attempt()}"):
            try:
                self.hdfs.rename(path, target)
            except HdfsAbsentError:
                return ""
            except HdfsExistsError:
                continue
            return target
        raise HdfsExistsError(f"{path} cannot be put aside: {target} is there")

    def put_in_place(self, staged: str, name: str) -> None:
        """Put a file into the day's folder; a damaged one of its name is put aside first."""
        self.hdfs.make_folder(self.folder)
        self.put_aside(f"{self.folder}/{name}")
        self.hdfs.rename(staged, f"{self.folder}/{name}")

    def delete_attempts(self, attempts: Iterable[str]) -> None:
        """Delete folders of attempts."""
        for attempt in attempts:
            self.hdfs.delete(f"{self.sealing}/{attempt}")
