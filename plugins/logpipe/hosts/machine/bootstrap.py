"""Install what the pipeline needs: a virtual environment and four class paths. Standard library only.

Run by ``make`` with the machine's Python, before anything is installed. Each part is built beside its
place and moved there when it is whole, and is left alone when it is there and its inputs are unchanged.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[4]
BUILD_DIR = PROJECT_DIR / "build"
VENV_DIR = PROJECT_DIR / ".venv"
POM_DIR = Path(__file__).resolve().parent
COMPONENTS = ("kafka", "hadoop", "flume", "spark")
OWN_JAVA = ("flume",)  # their code stands in a folder of the project's root, and is built into a jar

UV = "uv==0.12.0"
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
NEEDED_DISK_MB = 3000
NEEDED_MEMORY_MB = 4000
NEEDED_JAVA = 17


class InstallError(Exception):
    """Something that the installation needs is missing or failed; the message says what to do."""


def check_machine(*, with_maven: bool, installing: bool) -> None:
    """Look for Python 3.11, a JDK, and for what an installation needs: Maven, disk and memory.

    Raises:
        InstallError: names everything that is missing, not only the first thing.
    """
    problems = []
    if sys.version_info[:2] != (3, 11):
        problems.append(
            f"Python {sys.version.split()[0]} runs this, expected 3.11: install it, "
            "or name it with `make PYTHON=… …`"
        )
    problems += _java_problems()
    if with_maven and not shutil.which("javac"):
        problems.append(
            "javac is not on PATH: install a JDK 17 (Debian: apt-get install openjdk-17-jdk-headless)"
        )
    if with_maven and not shutil.which("mvn"):
        problems.append("mvn is not on PATH: install Maven 3.8 or newer (Debian: apt-get install maven)")
    if installing:
        free_mb = shutil.disk_usage(PROJECT_DIR).free // 2**20
        if free_mb < NEEDED_DISK_MB:
            problems.append(
                f"{PROJECT_DIR} has {free_mb} MB of free disk, expected {NEEDED_DISK_MB}: make room"
            )
        memory_mb = _available_memory_mb()
        if memory_mb is not None and memory_mb < NEEDED_MEMORY_MB:
            problems.append(
                f"{memory_mb} MB of memory are available, expected {NEEDED_MEMORY_MB}: stop other programs"
            )
    if problems:
        raise InstallError("\n".join(problems))


def _java_problems() -> list[str]:
    if not shutil.which("java"):
        return ["java is not on PATH: install a JDK 17 (Debian: apt-get install openjdk-17-jdk-headless)"]
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if answer.returncode or not found:
        return [f"`java -version` failed: {(answer.stderr or answer.stdout).strip()[:200]}"]
    if int(found[1]) < NEEDED_JAVA:
        return [f"java is version {found[1]}, expected {NEEDED_JAVA} or newer: put a JDK 17 first on PATH"]
    return []


def _available_memory_mb() -> int | None:
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return int(found[1]) // 1024 if found else None


def _fingerprint(paths: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamp_matches(stamp: Path, fingerprint: str) -> bool:
    return stamp.is_file() and stamp.read_text() == fingerprint


class Progress:
    """One line a step on stderr: its number, what it does and how long it took."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0

    def run(self, title: str, action: Callable[[], None]) -> None:
        """Run one step and print its time."""
        self._step += 1
        print(f"[{self._step}/{self._steps}] {title} … ", end="", flush=True, file=sys.stderr)
        start = time.monotonic()
        try:
            action()
        except BaseException:
            print("failed", flush=True, file=sys.stderr)
            raise
        print(f"{time.monotonic() - start:.0f} s", flush=True, file=sys.stderr)


def _run(command: list[str], log: Path, what_to_do: str) -> None:
    """Run a command, its output in ``log``; an error shows the end of it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    if code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise InstallError(
            f"{Path(command[0]).name} failed with exit code {code}:\n{tail}\n{what_to_do} Its output: {log}"
        )


def requirement_files(*, dev: bool) -> list[Path]:
    """The compiled requirements that the environment must hold."""
    names = ["requirements.txt", "requirements-dev.txt"] if dev else ["requirements.txt"]
    return [PROJECT_DIR / name for name in names]


def _venv_stamps(*, dev: bool) -> list[tuple[Path, str]]:
    """Stamp files with the fingerprints they must hold; the development set contains the plain one."""
    stamps = []
    for with_dev in (True,) if dev else (True, False):
        stamps.append(
            (
                VENV_DIR / ("installed-dev" if with_dev else "installed"),
                _fingerprint([*requirement_files(dev=with_dev), PROJECT_DIR / "pyproject.toml"]),
            )
        )
    return stamps


def venv_is_ready(*, dev: bool) -> bool:
    """Whether the environment holds what the compiled requirements say."""
    return any(_stamp_matches(stamp, fingerprint) for stamp, fingerprint in _venv_stamps(dev=dev))


def install_venv(*, dev: bool) -> None:
    """Make the virtual environment hold exactly the compiled requirements, and this project in its place."""
    for name in ("installed", "installed-dev"):
        (VENV_DIR / name).unlink(missing_ok=True)
    advice = (
        "Check the connection to the package index (pip's and uv's own settings apply), then run make again."
    )
    if not (VENV_DIR / "bin" / "uv").exists():
        shutil.rmtree(VENV_DIR, ignore_errors=True)
        _run(
            [sys.executable, "-m", "venv", str(VENV_DIR)],
            BUILD_DIR / "logs" / "venv.log",
            "Install python3-venv.",
        )
        pip = [str(VENV_DIR / "bin" / "python"), "-m", "pip", "install", "--quiet", UV]
        _run(pip, BUILD_DIR / "logs" / "pip.log", advice)
    uv = [
        str(VENV_DIR / "bin" / "uv"),
        "pip",
        "sync",
        "--compile-bytecode",
        "--python",
        str(VENV_DIR / "bin" / "python"),
    ]
    _run(uv + [str(path) for path in requirement_files(dev=dev)], BUILD_DIR / "logs" / "uv.log", advice)
    editable = ["install", "--no-deps", "--editable", str(PROJECT_DIR)]
    _run([*uv[:2], *editable, *uv[-2:]], BUILD_DIR / "logs" / "logpipe.log", advice)
    stamp, fingerprint = _venv_stamps(dev=dev)[0 if dev else -1]
    stamp.write_text(fingerprint)


def _component_dir(component: str) -> Path:
    """Where a component's pom stands, and Java files of ours."""
    return PROJECT_DIR / component if component in OWN_JAVA else POM_DIR / component


def _jar_inputs(component: str) -> list[Path]:
    """What a component's class path is made from: its pom, and Java files of ours."""
    folder = _component_dir(component)
    return [folder / "pom.xml", *sorted(folder.glob("src/main/**/*.java"))]


def jars_are_ready(component: str) -> bool:
    """Whether the class path of a component was made from its inputs as they are now."""
    return _stamp_matches(BUILD_DIR / "jars" / component / ".resolved", _fingerprint(_jar_inputs(component)))


def install_jars(component: str) -> None:
    """Resolve a component's class path with Maven into ``build/jars/<component>``; build our part of it."""
    place = BUILD_DIR / "jars" / component
    fresh = place.with_name(f".{component}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    goals = ["package", "-DskipTests"] if component in OWN_JAVA else []
    _run(
        [
            "mvn",
            "-B",
            "-q",
            "-f",
            str(_component_dir(component) / "pom.xml"),
            *goals,
            COPY_JARS,
            f"-DoutputDirectory={fresh}",
            "-DincludeScope=runtime",
        ],
        BUILD_DIR / "logs" / f"maven-{component}.log",
        "Check the connection to Maven Central (Maven's settings.xml applies), then run make again. "
        "A JDK 17 must be first on PATH, a JRE is not enough.",
    )
    if component in OWN_JAVA:
        shutil.copy(BUILD_DIR / component / f"logpipe-{component}.jar", fresh)
    (fresh / ".resolved").write_text(_fingerprint(_jar_inputs(component)))
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)


def main(arguments: list[str] | None = None) -> int:
    """Install what is missing; exit status 0, or 1 with a message on stderr."""
    parser = argparse.ArgumentParser(prog="bootstrap", description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what the tests need")
    options = parser.parse_args(arguments)
    BUILD_DIR.mkdir(exist_ok=True)
    with (BUILD_DIR / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another make installs here: waiting for it to end.", flush=True, file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [component for component in COMPONENTS if not jars_are_ready(component)]
        # Where the tests' packages are installed they stay.
        dev = options.dev or (VENV_DIR / "installed-dev").exists()
        venv_missing = not venv_is_ready(dev=dev)
        try:
            check_machine(with_maven=bool(missing), installing=bool(missing) or venv_missing)
            progress = Progress(len(missing) + venv_missing)
            if venv_missing:
                progress.run("Python packages (about 1 GB)", lambda: install_venv(dev=dev))
            for component in missing:
                progress.run(f"Jars of {component}", lambda component=component: install_jars(component))  # type: ignore[misc]
        except InstallError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
