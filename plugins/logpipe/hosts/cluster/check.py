"""The health check of the cluster's containers, from the table of services: one definition of healthy."""

from logpipe.hosts.kerberos_roles import KEYTAB
from logpipe.hosts.services import SERVICES, Service
from logpipe.settings import Settings

HEAD = f"""\
#!/bin/bash
# check NAME: asks a service in its container for what its users ask it for. From hosts/services.py.
set -euo pipefail
# Who it is that asks; a ticket is asked for again at half of its life.
export KRB5_CLIENT_KTNAME={KEYTAB} KRB5CCNAME=FILE:/tmp/.tickets

case "$1" in
"""


def check_script(settings: Settings) -> str:
    """The script ``check``, for images that hold bash and curl.

    Args:
        settings: have the ports.
    """
    cases = "".join(
        f"  {service.name}) {' && '.join(filter(None, _commands(service, settings)))} ;;\n"
        for service in SERVICES
        if service.on_cluster and service.ready
    )
    return f"{HEAD}{cases}esac\n"


def _commands(service: Service, settings: Settings) -> list[str]:
    owners = {port: each for each in SERVICES for port in each.ports}
    commands = []
    for probe in service.ready:
        owner = owners.get(str(getattr(probe, "port", "")), service)
        host = "$HOSTNAME" if owner is service else owner.on_cluster[0]
        commands.append(probe.shell(settings, host))
    return commands
