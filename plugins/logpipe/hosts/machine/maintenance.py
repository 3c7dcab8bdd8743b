"""What keeps one machine going for months: ``python -m logpipe.hosts.machine.maintenance``, a batch program.

It has the NameNode's edits merged into an image, deletes what Airflow keeps of runs that ended long ago, and
what killed commands left. Each step is done whatever becomes of the others; the last line that it prints is
a JSON object: ``{"pid": own, "failed": {step: why}, step: what it did}``.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from logpipe import settings as project_settings
from logpipe.hosts.connections import airflow_of
from logpipe.hosts.environment import JAVA, hadoop_class_path
from logpipe.hosts.layout import AIRFLOW, Layout
from logpipe.settings import Settings

COMMAND_TIMEOUT_S = 1800
LEFT_AFTER_S = 86400.0
# Tables of which no row belongs to a run. `dag_run`, `task_instance` and `trigger` would be cleaned by the
# day they began, whether they go on or not, and so would `dag_version`, which brings them along.
TABLES = "asset_event,import_error,job,log,revoked_token"


def main() -> int:
    """Do every step; exit status 1 when one failed."""
    settings = project_settings.load()
    layout = Layout.of(settings)
    before = datetime.now(UTC) - timedelta(days=settings.keep_runs_days)
    steps: dict[str, Callable[[], object]] = {
        "checkpoint": lambda: checkpoint(settings, layout),
        "deleted_runs": lambda: airflow_of(settings, layout).delete_runs(before),
        "cleaned_tables": lambda: clean_tables(before),
        "deleted_logs": lambda: delete_old_files(layout.airflow_dir / "logs", before.timestamp()),
        "deleted_folders": lambda: delete_left_folders(layout.state_dir, time.time() - LEFT_AFTER_S),
    }
    report: dict[str, object] = {"pid": os.getpid()}
    failed: dict[str, str] = {}
    for name, step in steps.items():
        try:
            report[name] = step()
        except Exception as error:  # noqa: BLE001  # whatever it is, the other steps are due all the same
            failed[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(report | {"failed": failed}), flush=True)
    return 1 if failed else 0


def checkpoint(settings: Settings, layout: Layout) -> str:
    """Have the edits merged into an image; returns the NameNode's newest image.

    The NameNode lets go of the edits before it. It takes no image when nothing has changed, or when the one
    before is younger than a minute.
    """
    heap = f"-Xmx{settings.namenode_heap_mb}m"
    java = [*JAVA, heap, *hadoop_class_path(layout)]
    run([*java, "org.apache.hadoop.hdfs.server.namenode.SecondaryNameNode", "-checkpoint", "force"])
    images = (layout.hadoop_dir / "name" / "current").glob("fsimage_*")
    return max(path.name for path in images if path.suffix != ".md5")


def clean_tables(before: datetime) -> str:
    """Delete old rows that belong to no run; returns the tables."""
    options = ["--yes", "--skip-archive", "--error-on-cleanup-failure", "--tables", TABLES]
    run([str(AIRFLOW), "db", "clean", "--clean-before-timestamp", before.isoformat(), *options])
    return TABLES


def run(command: list[str]) -> None:
    """Run a program to its end; what it says goes to the log.

    Raises:
        subprocess.SubprocessError: it failed, or took too long.
    """
    subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=COMMAND_TIMEOUT_S
    )


def delete_old_files(folder: Path, before_epoch_s: float) -> int:
    """Delete files last written before a moment, and folders that are empty then; returns how many files."""
    deleted = 0
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
        if path.is_symlink() or path.stat().st_mtime >= before_epoch_s:
            continue
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        else:
            path.unlink()
            deleted += 1
    return deleted


def delete_left_folders(state_dir: Path, before_epoch_s: float) -> int:
    """Delete the folders of killed commands (`make verify`, `make audit`); returns how many."""
    left = [
        path
        for pattern in ("verify-*", "audit-*")
        for path in state_dir.glob(pattern)
        if path.is_dir() and path.stat().st_mtime < before_epoch_s
    ]
    for path in left:
        shutil.rmtree(path)
    return len(left)


if __name__ == "__main__":
    sys.exit(main())
