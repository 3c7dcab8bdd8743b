"""Starts a program of the process host afresh: ``-m logpipe.hosts.machine.starter NAME STATE_DIR COMMAND…``.

What a killed predecessor left is ended, the program's temporary folder is emptied, and then this process
becomes the program. A killed Airflow scheduler leaves its workers, which heed no SIGTERM; a killed JVM leaves
the libraries that it unpacked; a killed Spark driver leaves its blocks.

The process host makes each program the leader of a process group, which its children belong to; those that
make one of their own, as the JVM of a Spark driver does, still have the program's environment, where
`LEADER` names it. So what has been started stands in ``STATE_DIR/run/NAME``, and what is still of one that is
gone was left behind.
"""

import contextlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import psutil

LEADER = "LOGPIPE_STARTED_AS"  # the pid of the program that a process belongs to, and when that began
_STATE_DIR = "LOGPIPE_STATE_DIR"
CLASS_LISTS = (
    "LOGPIPE_CLASS_LISTS"  # a folder: the JVMs write there which classes they load; see conf/classes
)
_KILLED_S = 10.0
_GROUP = re.compile(r"^(\d+) (\S+ \d+)\n", re.MULTILINE)  # leader, and when it began
_SCHEDULER = "airflow-scheduler"
_BROKER = "kafka"  # and the folder of its data
ROOM_MB = 64  # that it has to find; started on a full disk it may take its log of topics for a damaged one
_LOOK_S = 1.0
_LONGEST_TMPDIR = 70  # Python makes sockets there, whose names have 107 characters at most


def main(arguments: list[str]) -> None:
    """Clean up, then become the program."""
    name, state_dir, *command = arguments
    temporary = Path(state_dir) / "tmp" / name
    with contextlib.suppress(OSError):  # a full disk keeps no service from its start
        # A worker that has a task in hand ends it first; the next start, or the stop, looks for it again.
        end_leftovers(Path(state_dir), name, busy=name != _SCHEDULER)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _groups_file(Path(state_dir), name).open("a") as file:
            file.write(f"{os.getpid()} {_started(os.getpid())}\n")
    if name == _BROKER:
        _await_room(Path(state_dir) / _BROKER)
    os.environ |= {
        LEADER: f"{os.getpid()} {_started(os.getpid())}",
        "SPARK_LOCAL_DIRS": str(temporary),
        "JDK_JAVA_OPTIONS": f'"-Djava.io.tmpdir={temporary}"',
    }
    if lists := os.environ.get(CLASS_LISTS):
        os.environ["JDK_JAVA_OPTIONS"] += f' "-XX:DumpLoadedClassList={lists}/{name}.txt" -Xshare:off'
    if len(str(temporary)) <= _LONGEST_TMPDIR:
        os.environ["TMPDIR"] = str(temporary)
    os.execvp(command[0], command)  # noqa: S606  # there is no shell


def _await_room(folder: Path) -> None:
    is_said = False
    while folder.is_dir() and (free_mb := shutil.disk_usage(folder).free >> 20) < ROOM_MB:
        if not is_said:
            print(f"{folder} has {free_mb} MB free, expected {ROOM_MB}: waiting for room", flush=True)
            is_said = True
        time.sleep(_LOOK_S)


def end_leftovers(state_dir: Path, name: str = "", *, busy: bool = True, leaders: bool = False) -> int:
    """Kill what is left in the process groups of one program, or of all; returns how many processes it were.

    Args:
        state_dir: of the copy.
        name: of the program; empty for all.
        busy: also one that has children, and these.
        leaders: also the programs themselves; for when their process host was killed.
    """
    ended: list[psutil.Process] = []
    for file in [_groups_file(state_dir, name)] if name else sorted((state_dir / "run").glob("*")):
        kept = []
        # A line that a loss of power left half is none.
        for line in _GROUP.finditer(file.read_text(errors="replace")) if file.exists() else []:
            leader = int(line[1])
            members = _members(leader, line[2])
            if not members:
                continue
            kept.append(line[0])
            pids = {process.pid for process in members}
            if leaders or leader not in pids:
                ended += [
                    process
                    for process, parent in members.items()
                    if busy or (process.pid not in members.values() and parent not in pids)
                ]
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text("".join(kept))
    if leaders:  # whoever deleted `run`, or a part of it, has deleted what stands above
        ended += [process for process in _of_copy(state_dir) if process not in ended]
    for process in ended:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(ended, _KILLED_S)
    return len(ended)


def _groups_file(state_dir: Path, name: str) -> Path:
    return state_dir / "run" / name


def _members(leader: int, started: str) -> dict[psutil.Process, int]:
    """The processes of a group, with their parents; none when its number has gone to another one since."""
    if not started.startswith(_boot_id()) or (psutil.pid_exists(leader) and _started(leader) != started):
        return {}
    members = {}
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if os.getpgid(pid) == leader or _is_of(process, f"{leader} {started}"):
                members[process] = process.ppid()
    return members


def _of_copy(state_dir: Path) -> list[psutil.Process]:
    """All that was started for this state folder, by their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # ended meanwhile, or not one of ours
            environment = process.environ()
            if LEADER in environment and environment.get(_STATE_DIR) == str(state_dir):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def _is_of(process: psutil.Process, leader: str) -> bool:
    try:
        return process.environ().get(LEADER) == leader
    except psutil.AccessDenied:  # not one of ours
        return False


def _started(pid: int) -> str:
    """When a process began: the machine's start, and clock ticks since; no clock that is set moves it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "gone"
    return f"{_boot_id()} {fields[19]}"


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


if __name__ == "__main__":
    main(sys.argv[1:])
