"""A KDC and an HDFS that asks for Kerberos and TLS, of the product's own templates; one a test process."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from logpipe import settings as project_settings
from logpipe.clients.hdfs import Hdfs
from logpipe.clients.kerberos import Kerberos
from logpipe.hosts import configuration
from logpipe.hosts.kerberos_roles import CLUSTER_VALUES
from logpipe.hosts.layout import Layout
from logpipe.hosts.machine.stack import Stack
from logpipe.hosts.services import named
from logpipe.settings import Settings
from tests.hdfs_access import certificates
from tests.hdfs_access.kdc import REALM, Kdc, missing
from tests.machine import HDFS_USER, Addressed, Service
from tests.ports import port_settings

TICKET_S = 60


@dataclass
class SecuredHdfs(Addressed):
    """NameNode and DataNode with Kerberos, encrypted transfer and https alone.

    Attributes:
        kdc: whose tickets hold for a minute.
        settings: the pipeline's, with its principal and keytab.
        environment: what programs need besides, since krb5.conf is no machine's.
    """

    kdc: Kdc
    settings: Settings
    environment: dict[str, str]
    services: dict[str, Service]

    @classmethod
    def made(cls, folder: Path) -> "SecuredHdfs":
        kdc = Kdc(folder / "kdc", TICKET_S).start()
        trust = certificates.write(folder)
        ports = port_settings()
        settings = project_settings.parse(
            state_dir=folder / "state",
            webhdfs_url=f"https://localhost:{ports['namenode_http_port']}",
            hadoop_ca_file=str(folder / "ca.pem"),
            kerberos_principal=f"{HDFS_USER}@{REALM}",
            kerberos_keytab=str(kdc.keytab("pipeline", HDFS_USER)),
            **ports,
        )
        stack = Stack(settings)
        configuration.write_all(settings, stack.layout)
        (folder / "cookies").write_text("of a test")
        principals = [f"{who}/localhost" for who in ("nn", "dn", "rm", "nm", "HTTP")]
        values = configuration.machine_values(settings, stack.layout, stack.layout.secrets()) | trust | {
            "realm": REALM,
            "relogin_s": 1,
            "web_host": "localhost",
            **dict.fromkeys((name for name in CLUSTER_VALUES if name.endswith("_role")), "localhost"),
            "checkpoints_https": "localhost:0",
            "service_keytab": kdc.keytab("services", *principals),
            "cookie_secret_file": folder / "cookies",
            "namenode_https": f"localhost:{settings.namenode_http_port}",
            "datanode_https": f"localhost:{settings.datanode_http_port}",
        }  # fmt: skip
        for template in configuration.SECURITY:
            (stack.layout.conf_dir / template).write_text(configuration.filled(template, values))
        os.environ |= kdc.environment  # what a preparation and this process's library read
        stack.prepare(named("namenode").preparation)
        logs = stack.layout.logs_dir
        services = {
            name: Service.of(name, settings, logs / f"{name}.log", **kdc.environment)
            for name in ("namenode", "datanode")
        }
        return cls(kdc, settings, kdc.environment, services)

    @property
    def as_settings(self) -> dict[str, str]:
        """What a copy elsewhere is told of this HDFS, as environment variables."""
        told = {
            "hadoop_conf_dir": str(Layout.of(self.settings).conf_dir / "hadoop"),
            "hadoop_ca_file": self.settings.hadoop_ca_file,
            "kerberos_principal": self.settings.kerberos_principal,
            "kerberos_keytab": self.settings.kerberos_keytab,
        }
        return {f"LOGPIPE_{name.upper()}": value for name, value in told.items()}

    def somebody(self, *names: str) -> Kerberos:
        """Somebody else with a keytab of their own."""
        principal = "/".join(names)
        return Kerberos(f"{principal}@{REALM}", str(self.kdc.keytab("-".join(names), principal)))

    def client(self, kerberos: Kerberos) -> Hdfs:
        """HDFS as somebody."""
        return Hdfs(self.settings.webhdfs_url, "", kerberos=kerberos, ca_file=self.settings.hadoop_ca_file)

    def start(self) -> "SecuredHdfs":
        for service in self.services.values():
            service.start()
        superuser = Kerberos(f"nn/localhost@{REALM}", str(self.kdc.folder / "services.keytab"))
        hdfs, home = self.client(superuser), f"/user/{HDFS_USER}"
        hdfs.make_folder(home)
        hdfs.set_owner(home, HDFS_USER, HDFS_USER)
        hdfs.set_mode(home, 0o700)
        hdfs.close()
        return self

    def end(self) -> None:
        for service in self.services.values():
            service.end()
        self.kdc.end()


@pytest.fixture(scope="package")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredHdfs]:
    """It runs while tests of this suite do, and this process's Kerberos is its realm's."""
    if lacking := missing():
        packages = "krb5-kdc krb5-admin-server krb5-user python3-gssapi"
        pytest.fail(f"{', '.join(lacking)} are not on this machine: apt-get install {packages}")
    before = {name: os.environ.get(name) for name in ("KRB5_CONFIG", "JAVA_TOOL_OPTIONS")}
    made = SecuredHdfs.made(tmp_path_factory.mktemp("secured"))
    try:
        yield made.start()
    finally:
        made.end()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture
def told(secured: SecuredHdfs, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecuredHdfs]:
    """The settings name it, as those of a copy elsewhere."""
    for name, value in secured.as_settings.items():
        monkeypatch.setenv(name, value)
    project_settings.load.cache_clear()
    yield secured
    project_settings.load.cache_clear()
