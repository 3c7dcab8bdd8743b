"""The process host's configuration, from the table of services."""

from collections.abc import Iterable

from logpipe.hosts.environment import service_environment
from logpipe.hosts.layout import PYTHON, USER, Layout
from logpipe.hosts.services import Service
from logpipe.settings import PROJECT_DIR, Settings


def supervisor_conf(settings: Settings, layout: Layout, services: Iterable[Service]) -> str:
    """The configuration of a process host that keeps some services, those with a command.

    It holds the host's password, so it is written with mode 600.
    """
    password = layout.secrets()["process_host_password"]
    place = settings.process_host
    login = {"username": USER, "password": password}
    if place.startswith("/"):
        server = _section("unix_http_server", {"file": place, "chmod": "0600", **login})
    else:
        server = _section("inet_http_server", {"port": f"{place}:{settings.supervisor_port}", **login})
    text = _section(
        "supervisord",
        {
            "logfile": layout.logs_dir / "supervisord.log",
            "logfile_maxbytes": "5MB",
            "logfile_backups": 1,
            "pidfile": layout.state_dir / "supervisord.pid",
            "childlogdir": layout.logs_dir,
            "umask": "077",
            "environment": _environment(service_environment(settings)),
        },
    )
    text += server
    text += _section(
        "rpcinterface:supervisor",
        {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
    )
    for service in services:
        if service.command is None:
            continue
        names = [f"{service.name}-{variant}" for variant in service.variants]
        for name, variant in zip(names or [service.name], service.variants or [""], strict=True):
            command = service.command(settings, layout, variant)
            text += _section(
                f"program:{name}",
                _program(service, name, variant, command, service.environment(settings, layout), layout),
            )
        if names:
            text += _section(f"group:{service.name}", {"programs": ",".join(names)})
    return text


def _program(
    service: Service,
    name: str,
    variant: str,
    command: tuple[str, ...],
    environment: dict[str, str],
    layout: Layout,
) -> dict[str, object]:
    log = layout.logs_dir / f"{service.name}.log"
    is_batch = service.kind == "batch"
    starter = (str(PYTHON), "-m", "logpipe.hosts.machine.starter", name, str(layout.state_dir))
    keys: dict[str, object] = {
        "command": " ".join(_quoted(part) for part in (*starter, *command)),
        "process_name": variant or service.name,
        "directory": PROJECT_DIR,
        "autostart": "false",
        "autorestart": "false" if is_batch else "true",
        "startsecs": 0 if is_batch else 1,
        "startretries": 1000000,
        "stopwaitsecs": service.stop_wait_s,
        "stopasgroup": "true" if service.kind == "airflow" else "false",
        "killasgroup": "true",
        "stdout_logfile": layout.logs_dir / f"{service.name}.out.log" if service.separate_stderr else log,
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": 2,
    }
    if service.separate_stderr:
        keys |= {"stderr_logfile": log, "stderr_logfile_maxbytes": "20MB", "stderr_logfile_backups": 2}
    else:
        keys["redirect_stderr"] = "true"
    if environment:
        keys["environment"] = _environment(environment)
    return keys


def _section(name: str, keys: dict[str, object]) -> str:
    rows = "".join(
        f"{key}={str(value).replace('%', '%%') if key != 'environment' else value}\n"
        for key, value in keys.items()
    )
    return f"[{name}]\n{rows}\n"


def _environment(values: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(values.items()))


def _escaped(value: str) -> str:
    return value.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


def _quoted(part: str) -> str:
    return f'"{part}"' if any(character in part for character in " ;*'") else part
