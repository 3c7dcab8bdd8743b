"""An edge host's process host: ``python -m logpipe.hosts.cluster.edge``, the main process of its container.

It keeps the Flume agents and the replayer, with the same programs as on one machine. None is started by
itself: Airflow's operators launch them on the host that is to be the active one.
"""

import os
import sys

from logpipe import settings
from logpipe.hosts.configuration import write_logins
from logpipe.hosts.layout import Layout, write_private
from logpipe.hosts.machine.supervisor import supervisor_conf
from logpipe.hosts.services import AGENT_ROLES, EDGE_HOSTS, SERVICES
from logpipe.settings import PROJECT_DIR

HADOOP_CONF_DIR = PROJECT_DIR / "conf" / "hadoop"


def main() -> None:
    """Write the configuration and become supervisord."""
    current = settings.load()
    layout = Layout.of(current)
    layout.make_dirs()
    hadoop = layout.conf_dir / "hadoop"
    hadoop.unlink(missing_ok=True)  # of the container before, maybe of another version
    hadoop.symlink_to(HADOOP_CONF_DIR)
    write_logins(current, layout, *AGENT_ROLES)
    kept = [service for service in SERVICES if set(EDGE_HOSTS) & set(service.on_cluster)]
    write_private(layout.supervisor_conf, supervisor_conf(current, layout, kept))
    layout.state_dir.joinpath("supervisord.pid").unlink(missing_ok=True)  # of the container before
    command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(layout.supervisor_conf)]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
