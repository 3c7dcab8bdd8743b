"""Who is who in the realm of the cluster's containers, and by what each proves it.

A role has one password, a file, from which its containers and the KDC make the same keys of its principals
(docker/bin/role). To HDFS and YARN a principal's first part is the user: ``nn`` may do anything on HDFS,
``rm`` on YARN.
"""

import secrets
from pathlib import Path

from logpipe.hosts.layout import write_private
from logpipe.hosts.services import KDC, KDC_PORT, RESOURCE_MANAGER, named
from logpipe.settings import Settings

REALM = "LOGPIPE"
KEYTAB = "/tmp/.keytab"  # noqa: S108  # of a container, in its memory, for its user only
USER = Settings.model_construct().hdfs_user
CLIENTS = ("edge", "page", "airflow")  # each is the pipeline's user
# The daemons' principals name no host, and all DataNodes are one: Hadoop would ask the engine for a host's
# name by its address, and that is the container's in a network. The NameNode wants its own principal of who
# merges its edits.
_DAEMONS = {
    "namenode": ("nn/namenode", "namenode", "checkpoints"),
    "datanode": ("dn/datanode", "datanode"),
    RESOURCE_MANAGER.name: ("rm/resourcemanager", RESOURCE_MANAGER.name),
    "nodemanager": ("nm/nodemanager", "nodemanager"),
}
_HOSTS = {
    role: [host for name in services for host in named(name).on_cluster]
    for role, (_, *services) in _DAEMONS.items()
}
WEB_HOSTS = [host for hosts in _HOSTS.values() for host in hosts]  # each has a certificate
PRINCIPALS: dict[str, tuple[str, ...]] = {
    **{role: (_DAEMONS[role][0], *(f"HTTP/{host}" for host in hosts)) for role, hosts in _HOSTS.items()},
    **{role: (f"{USER}/{role}",) for role in CLIENTS},
    "init": ("nn/init",),  # makes the pipeline's home
}

# What the templates of Kerberos, HDFS and YARN take in the containers; the entry point makes the files.
CLUSTER_VALUES: dict[str, object] = {
    "realm": REALM,
    "ticket_s": 86400,
    "skew_s": 300,
    "kdc": f"{KDC.name}:{KDC_PORT}",
    "kdc_listens_at": f"0.0.0.0:{KDC_PORT}",
    "kdc_dir": "/data/realm",
    "kdc_log": "STDERR",
    "relogin_s": 60,
    "service_keytab": KEYTAB,
    "cookie_secret_file": "/tmp/.cookies",  # noqa: S108
    "web_host": "${env.HOSTNAME}",
    **{f"{role}_role": principal.partition("/")[2] for role, (principal, *_) in _DAEMONS.items()},
    "namenode_https": "namenode:9870",
    "checkpoints_https": "0.0.0.0:9868",
    "datanode_https": "0.0.0.0:9864",
    # They protect nothing that their files' modes do not: Java reads no key store without.
    "keystore": "/tmp/.keystore.p12",  # noqa: S108
    "keystore_password": "changeit",
    "truststore": "/tmp/.truststore.p12",  # noqa: S108
    "truststore_password": "changeit",
}


def make_passwords(folder: Path) -> None:
    """Make each role's password, ``<role>.kerberos``, but for those that are there."""
    for role in PRINCIPALS:
        if not (file := folder / f"{role}.kerberos").exists():
            write_private(file, secrets.token_urlsafe(24))


def table() -> str:
    """The principals as the entry point reads them: a line a role, which begins with its name."""
    return "".join(f"{' '.join((role, *principals))}\n" for role, principals in PRINCIPALS.items())


def client_environment(*, secure: bool) -> dict[str, str]:
    """What docker-compose is told: how HDFS is asked, and as whom; nothing of Kerberos where nobody asks."""
    told = {f"LOGPIPE_{role.upper()}_PRINCIPAL": f"{PRINCIPALS[role][0]}@{REALM}" for role in CLIENTS}
    told |= {"LOGPIPE_CLUSTER_KEYTAB": KEYTAB}
    return {name: value if secure else "" for name, value in told.items()} | {
        "LOGPIPE_CLUSTER_WEBHDFS_URL": webhdfs_url(secure=secure)
    }


def webhdfs_url(*, secure: bool) -> str:
    """WebHDFS's address within the cluster: the port is the same."""
    return f"http{'s' if secure else ''}://namenode:9870"
