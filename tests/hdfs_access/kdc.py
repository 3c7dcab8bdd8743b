"""A key distribution centre of MIT Kerberos on loopback, of Debian's packages krb5-kdc and krb5-user."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from logpipe.hosts import configuration
from logpipe.hosts.probes import listens
from tests.ports import free_port
from tests.waiting import wait_until

REALM = "LOGPIPE.TEST"
PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "klist")
_PATH = f"{os.environ['PATH']}:/usr/sbin"


def missing() -> list[str]:
    """The programs that are not on this machine."""
    return [name for name in PROGRAMS if not shutil.which(name, path=_PATH)]


@dataclass
class Kdc:
    """One realm; its clients find it by ``environment``.

    Attributes:
        ticket_s: how long a ticket holds.
        skew_s: how far clients' clocks may be off, and so how long a ticket is taken behind its end.
    """

    folder: Path
    ticket_s: int
    skew_s: int = 5
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(mode=0o700)
        values = {
            "realm": REALM,
            "kdc": f"127.0.0.1:{self.port}",
            "kdc_listens_at": f"127.0.0.1:{self.port}",
            "kdc_dir": self.folder,
            "kdc_log": f"FILE:{self.folder}/kdc.log",
            "ticket_s": self.ticket_s,
            "skew_s": self.skew_s,
        }
        for template in configuration.REALM:
            (self.folder / Path(template).name).write_text(configuration.filled(template, values))
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "of a test")

    @property
    def environment(self) -> dict[str, str]:
        """What programs with MIT's library, and JVMs, read."""
        return {
            "KRB5_CONFIG": f"{self.folder}/krb5.conf",
            "JAVA_TOOL_OPTIONS": f"{os.environ.get('JAVA_TOOL_OPTIONS', '')} "
            f"-Djava.security.krb5.conf={self.folder}/krb5.conf",
        }

    def _run(self, *command: str) -> str:
        environment = os.environ | self.environment
        environment |= {"KRB5_KDC_PROFILE": f"{self.folder}/kdc.conf", "PATH": _PATH}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def keytab(self, name: str, *principals: str) -> Path:
        """A file with new keys of these principals, which are made where they are not there."""
        path = self.folder / f"{name}.keytab"
        path.unlink(missing_ok=True)
        for principal in principals:
            self._run("kadmin.local", "-r", REALM, "-q", f"addprinc -randkey {principal}")
            self._run("kadmin.local", "-r", REALM, "-q", f"ktadd -k {path} {principal}")
        return path

    def forget(self, principal: str) -> None:
        """Delete a principal."""
        self._run("kadmin.local", "-r", REALM, "-q", f"delprinc -force {principal}")

    def logins(self, principal: str) -> int:
        """How often it has had a ticket for tickets, by the KDC's own log."""
        log = self.folder / "kdc.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return sum("AS_REQ" in line and "ISSUE" in line and f" {principal}@" in line for line in lines)

    def start(self) -> "Kdc":
        environment = os.environ | self.environment
        environment |= {"KRB5_KDC_PROFILE": f"{self.folder}/kdc.conf", "PATH": _PATH}
        command = [shutil.which("krb5kdc", path=_PATH) or "krb5kdc", "-n", "-r", REALM]
        self.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        wait_until(lambda: listens("127.0.0.1", self.port), 20, f"the KDC, see {self.folder}/kdc.log")
        return self

    def end(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None
