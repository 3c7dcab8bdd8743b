"""A real nginx in front of an API server of Airflow that has a path in its address."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from logpipe.hosts.environment import airflow_environment
from logpipe.hosts.layout import AIRFLOW, Layout
from tests.ports import free_port
from tests.waiting import wait_until

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
PATH = "/tools/airflow"
# As docs/operations.md has it, with what a run without root needs.
CONFIGURATION = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location {path}/ {{
      proxy_pass http://127.0.0.1:{behind};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""


@contextmanager
def airflow_behind_nginx(environment: dict[str, str], layout: Layout, folder: Path) -> Iterator[str]:
    """One more API server of a copy's Airflow, reached through nginx only; gives its address, with a path."""
    assert NGINX is not None
    port, behind = free_port(), free_port()
    address = f"http://localhost:{port}{PATH}"
    configuration = folder / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "", folder=folder, port=port, path=PATH, behind=behind
        )
    )
    own = environment | airflow_environment(layout) | {"AIRFLOW__API__BASE_URL": address}
    server = [str(AIRFLOW), "api-server", "--host", "127.0.0.1", "--port", str(behind)]
    with ExitStack() as ends, (folder / "log").open("wb") as log:
        for command in (server, [NGINX, "-c", str(configuration), "-e", str(folder / "error.log")]):
            process = subprocess.Popen(command, env=own, stdout=log, stderr=log)
            ends.callback(process.wait, 30)
            ends.callback(process.terminate)
        health = f"{address}/api/v2/monitor/health"
        wait_until(lambda: _answers(health), 120, f"{health}; {folder} has the logs", poll_s=0.5)
        yield address


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False
