"""Puts a new set of files in a partition's place: readers see the old set or the new one.

HDFS can't exchange two directories, so the switch is two renames, each atomic: the old directory goes away
under a hidden folder, the new one takes its name. A journal, written before the first, lets the next run
finish a switch that was killed. In the instant between, the partition does not exist: a reader that lists
it then finds nothing (`FileNotFoundException`), and never a mixture. New files have new names, so that a
reader who goes by an older listing misses them instead of taking new for old.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from reconciliation.errors import ReconcileError
from reconciliation.hdfs import LogFiles
from reconciliation.in_use import is_final, is_in_use
from reconciliation.manifest import NAME, SUCCESS, Manifest

LOG = logging.getLogger("reconcile")
_JOURNAL = "journal.json"
_TRIES = 20


@dataclass(frozen=True)
class Journal:
    """A switch that is under way.

    Attributes:
        run: Tells this switch's folders from others.
        superseded: Name to size of the old files that the new set stands for; all else is carried over.
        manifest: Of the new set, as JSON values.
    """

    run: str
    superseded: dict[str, int]
    manifest: dict[str, Any]


class Switch:
    """Switches one partition.

    Args:
        hdfs: The file system.
        target: The partition's directory.
        work: Folder of this partition's staging.
        reached: Told each step.
        confirm: Makes sure that the lock is held.
    """

    def __init__(
        self,
        hdfs: LogFiles,
        target: str,
        work: str,
        reached: Callable[[str], None],
        confirm: Callable[[], None],
    ) -> None:
        self._hdfs = hdfs
        self._target = target
        self._work = work
        self._reached = reached
        self._confirm = confirm

    def staging(self, run: str) -> str:
        """Where the new set is written."""
        return f"{self._work}/new-{run}"

    def _old(self, run: str) -> str:
        return f"{self._work}/old-{run}"

    def begin(self, journal: Journal) -> int:
        """Switch to the staged set; returns how many files were carried over (see `finish`)."""
        self._confirm()
        text = json.dumps(asdict(journal))
        self._hdfs.write_text(f"{self._work}/{_JOURNAL}.new", text)
        self._hdfs.rename(f"{self._work}/{_JOURNAL}.new", f"{self._work}/{_JOURNAL}", overwrite=True)
        self._reached("journalled")
        try:
            self._hdfs.rename(self._target, self._old(journal.run))
        except FileNotFoundError:
            self._hdfs.make_folder(self._old(journal.run))
        self._reached("old-moved")
        return self._finish(journal)

    def recover(self) -> bool:
        """Finish a switch that was killed, or clear away what never began; True when one was finished."""
        try:
            journal = Journal(**json.loads(self._hdfs.read_text(f"{self._work}/{_JOURNAL}")))
        except FileNotFoundError:
            self._hdfs.delete(self._work)
            return False
        begun = self._hdfs.exists(self._old(journal.run)) or not self._hdfs.exists(self.staging(journal.run))
        if not begun:
            LOG.info("%s: a switch was prepared and not begun; starting over", self._target)
            self._hdfs.delete(self._work)
            return False
        LOG.info("%s: finishing a switch that was broken off", self._target)
        self._confirm()
        self._finish(journal)
        return True

    def _finish(self, journal: Journal) -> int:
        """Go on from wherever the switch is."""
        if self._hdfs.exists(self.staging(journal.run)):
            self._put_in_place(journal)
            self._reached("new-moved")
        rescued = self._rescue(journal)
        self._reached("rescued")
        manifest = Manifest.from_json(journal.manifest)
        self._verify(manifest)
        self._hdfs.delete(self._old(journal.run))
        self._reached("old-deleted")
        mark_success(self._hdfs, self._target, manifest)
        self._reached("succeeded")
        self._hdfs.delete(self._work)
        return rescued

    def _put_in_place(self, journal: Journal) -> None:
        """Rename the staged set; a directory that an agent made in between is put aside."""
        for _ in range(_TRIES):
            try:
                self._hdfs.rename(self.staging(journal.run), self._target)
            except FileExistsError:
                aside = f"{self._work}/aside-{journal.run}-{len(self._hdfs.list(self._work))}"
                LOG.info("%s came into being during the switch; its files are carried over", self._target)
                self._hdfs.rename(self._target, aside)
            else:
                return
        raise ReconcileError(
            f"{self._target} was made anew {_TRIES} times during its switch: stop agent 2 and run again; the "
            f"new set is in {self.staging(journal.run)}, the old one in {self._old(journal.run)}"
        )

    def _rescue(self, journal: Journal) -> int:
        """Carry over what the new set does not stand for: files that came after it was computed.

        A file keeps its name, so that an agent which is writing it can rename it at its end.
        """
        rescued = 0
        folders = [self._old(journal.run)]
        folders += [entry.path for entry in self._hdfs.list(self._work) if entry.name.startswith("aside-")]
        for folder in folders:
            for entry in self._hdfs.list(folder):
                if entry.name in (NAME, SUCCESS) or journal.superseded.get(entry.name) == entry.size_bytes:
                    continue
                target = f"{self._target}/{entry.name}"
                if self._hdfs.exists(target):
                    stem, dot, suffix = entry.name.partition(".")
                    target = f"{self._target}/{stem}-rescued-{journal.run}{dot}{suffix}"
                self._hdfs.rename(entry.path, target)
                LOG.info("carried over %s", target)
                rescued += 1
        return rescued

    def _verify(self, manifest: Manifest) -> None:
        """Check that the new set is in place; its digests were checked in the staging folder."""
        found = {entry.name: entry.size_bytes for entry in self._hdfs.list(self._target)}
        wrong = [name for name, size in manifest.sizes.items() if found.get(name) != size]
        if wrong:
            raise ReconcileError(
                f"{self._target} lacks {', '.join(sorted(wrong)[:3])} of the new set after the switch: the "
                f"old set is kept under {self._work}; put its files back, delete that folder, and run again"
            )


def mark_success(hdfs: LogFiles, target: str, manifest: Manifest) -> None:
    """Write ``_SUCCESS`` when the day is over and the directory holds the manifest's files and no others."""
    names = {entry.name for entry in hdfs.list(target) if is_final(entry.name) or is_in_use(entry.name)}
    if manifest.day_over and names == set(manifest.sizes):
        hdfs.write_text(f"{target}/{SUCCESS}", "")
    else:
        hdfs.delete(f"{target}/{SUCCESS}")


def write_manifest(hdfs: LogFiles, target: str, work: str, manifest: Manifest) -> None:
    """Replace a partition's manifest, in one step to readers."""
    hdfs.write_text(f"{work}/{NAME}", manifest.to_text())
    hdfs.rename(f"{work}/{NAME}", f"{target}/{NAME}", overwrite=True)
