"""The real servers on loopback: nginx, Apache and Caddy, each with a configuration in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port
from tests.waiting import wait_until

NGINX = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; {user}
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  large_client_header_buffers 4 32k;
  log_format as_json escape=json '{json}';
  log_format timed '{timed}';
  server {{
    listen 127.0.0.1:{port}; server_name a.example;
    {logs}
    location / {{ default_type text/plain; return 200 "found\\n"; }}
  }}
}}
"""
APACHE = """
ServerRoot /usr/lib/apache2
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
Listen 127.0.0.1:{port}
ServerName a.example
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authz_core_module modules/mod_authz_core.so
{user}
DocumentRoot {folder}
LimitRequestLine 40000
LimitRequestFieldSize 40000
LogFormat "%h %l %u %t \\"%r\\" %>s %b" common
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
LogFormat "%v:%p %h %l %u %t \\"%r\\" %>s %b \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" vhost_combined
LogFormat "{timed}" timed
{logs}
"""
CADDY = """
{{
  admin off
  auto_https off
  storage file_system {folder}/store
}}
:{port} {{
  bind 127.0.0.1
  log {{
    output file {folder}/caddy.log {{
      {rolling}
    }}
    format json
  }}
  header Content-Type "text/plain; charset=utf-8"
  respond "found"
}}
"""
NGINX_TIMED = (
    '$msec $host "$request_method" "$request_uri" $status $bytes_sent $request_time "$http_user_agent"'
)
APACHE_TIMED = '%{%Y-%m-%dT%H:%M:%S}t %{msec_frac}t %a \\"%m\\" \\"%U%q\\" %>s %B %D \\"%{User-Agent}i\\"'
PROGRAMS = {"nginx": "nginx", "apache": "apache2", "caddy": "caddy"}
# The logs that each can write, by the name of the file, with the server's name of the format.
LOGS = {
    "nginx": {"combined": "combined", "json": "as_json", "timed": "timed", "twin": "combined"},
    "apache": {name: name for name in ("common", "combined", "vhost_combined", "timed")},
    "caddy": {"caddy": "json"},
}
_DIRECTIVES = {"nginx": "access_log {path} {format};", "apache": "CustomLog {path} {format}", "caddy": ""}


def found(program: str) -> str | None:
    """Where a program of the system is."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


def missing(name: str) -> str:
    """What to say where a server is not installed; empty where it is."""
    if found(PROGRAMS[name]):
        return ""
    return f"{PROGRAMS[name]} is not installed: apt-get install {PROGRAMS[name]}"


@dataclass(frozen=True)
class Server:
    """A server that runs; its logs stand in its folder."""

    name: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    def log(self, name: str) -> Path:
        """One of its logs."""
        return self.folder / f"{name}.log"

    def reopen(self) -> None:
        """Have it open its logs anew, as its package's logrotate does: nginx reopens, Apache is graceful."""
        self.process.send_signal(signal.SIGUSR1)


@contextmanager
def running(
    name: str, folder: Path, nginx_json: str, logs: Sequence[str] = (), rolling: str = "roll_disabled"
) -> Iterator[Server]:
    """Start a server; its logs stand in the folder, and stay there when it has ended.

    Args:
        nginx_json: the format of nginx' log ``json``.
        logs: those of `LOGS` that it writes; none for all.
        rolling: what Caddy does with a log that grows.
    """
    port, root = free_port(), os.geteuid() == 0
    program = found(PROGRAMS[name])
    configuration = folder / "configuration"
    lines = "\n".join(
        _DIRECTIVES[name].format(path=folder / f"{log}.log", format=LOGS[name][log])
        for log in logs or LOGS[name]
    )
    if name == "nginx":
        text = NGINX.format(
            folder=folder,
            port=port,
            logs=lines,
            json=nginx_json,
            timed=NGINX_TIMED,
            user="user root;" if root else "",
        )
        command = [program, "-p", folder, "-e", "stderr", "-c", configuration]
    elif name == "apache":
        user = "User www-data\nGroup www-data" if root else ""
        text = APACHE.format(folder=folder, port=port, logs=lines, timed=APACHE_TIMED, user=user)
        command = [program, "-D", "FOREGROUND", "-f", configuration]
    else:
        text = CADDY.format(folder=folder, port=port, rolling=rolling)
        command = [program, "run", "--adapter", "caddyfile", "--config", configuration]
    configuration.write_text(text)
    output = folder / "output"
    with output.open("wb") as out:
        environment = {
            **os.environ,
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
        }
        process = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
        try:
            wait_until(lambda: _listens(port) or process.poll() is not None, 30, f"{name} to listen")
            assert process.poll() is None, output.read_text()
            yield Server(name, folder, port, process)
        finally:
            process.terminate()
            process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, request: bytes) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        try:
            connection.shutdown(socket.SHUT_WR)
            while block := connection.recv(65536):
                answer += block
        except ConnectionError:
            pass
    return answer
