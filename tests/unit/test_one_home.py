"""One client a system, one table of services, one identity rule; Airflow only where it is the control plane.

A second one of any of these begins with an import or a list: so each is looked for in the sources.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from logpipe.hosts.services import SERVICES
from logpipe.settings import PROJECT_DIR

FILES = [
    path.relative_to(PROJECT_DIR)
    for room in ("plugins", "spark_jobs", "dags")
    for path in sorted((PROJECT_DIR / room).rglob("*.py"))
]
CLIENTS = Path("plugins/logpipe/clients")

# What speaks to another program, by the module that does; urllib.parse and the like only read texts.
NETWORK = (
    "aiohttp", "confluent_kafka", "fsspec.implementations", "ftplib", "gssapi", "hdfs", "http.client",
    "httpx", "kafka", "pyarrow.fs", "requests", "socket", "thriftpy2", "urllib.request", "urllib3", "xmlrpc",
)  # fmt: skip
# Outside of clients/: each is the one client of its system, or no client.
OUTSIDE = {
    "plugins/logpipe/replayer/ftp_source.py": {"ftplib", "fsspec.implementations", "socket"},  # logs by FTP
    "plugins/logpipe/replayer/http_source.py": {"aiohttp", "fsspec.implementations", "socket"},  # and by HTTP
    "plugins/logpipe/replayer/thrift_sink.py": {"thriftpy2"},  # the way into agent 1
    "plugins/logpipe/replayer/link.py": {"socket"},  # the way into agent 1 of profile memory
    "plugins/logpipe/replayer/front_door.py": {"socket"},  # looks up names
    "plugins/logpipe/airflow/page/app.py": {"httpx"},  # hands questions on, without a thread
    "plugins/logpipe/hosts/probes.py": {"socket"},  # whether a port is open, asked without a protocol
    "plugins/logpipe/hosts/machine/stack.py": {"socket"},  # whether a port is free
    "spark_jobs/windows/kafka_rows.py": {"confluent_kafka"},  # the way out of windows and dead letters
    "spark_jobs/windows/life.py": {"confluent_kafka"},  # its errors
    "spark_jobs/windows/patience.py": {"confluent_kafka"},  # and which of them pass
    "spark_jobs/windows/session.py": {"socket"},  # whether a port is free
    "spark_jobs/windows/store.py": {"socket"},  # the name of this host
}

# No lists of services: what a page draws, and a template's values by the names of hosts.
OTHER_LISTS = {
    "plugins/logpipe/page/flow.py",
    "plugins/logpipe/hosts/configuration.py",
    "plugins/logpipe/hosts/kerberos_roles.py",  # who is who
}


def modules(tree: ast.AST) -> Iterator[str]:
    """The modules that a file imports, also where it does so late."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.AST:
    return ast.parse((PROJECT_DIR / path).read_text())


def speaks(path: Path) -> set[str]:
    """What a file imports of what speaks to another program."""
    return {
        name for name in NETWORK for module in modules(parsed(path)) if f"{module}.".startswith(f"{name}.")
    }


def test_a_system_is_asked_by_its_client():
    allowed = {Path(path): names for path, names in OUTSIDE.items()}
    found = {path: speaks(path) for path in FILES if not path.is_relative_to(CLIENTS)}
    assert {path: names - allowed.get(path, set()) for path, names in found.items() if names} == {
        path: set() for path, names in found.items() if names
    }
    unused = {path for path in OUTSIDE if Path(path) in found and not found[Path(path)]}
    assert unused == set(), "these are exceptions no more"


def test_no_system_has_two_clients():
    owners: dict[str, set[Path]] = {}
    for path in FILES:
        if path.is_relative_to(CLIENTS):
            for name in speaks(path):
                owners.setdefault(name, set()).add(path)
    assert {name: len(paths) for name, paths in owners.items()} == dict.fromkeys(owners, 1) | {
        "httpx": len(owners["httpx"])
    }
    # httpx: the one base of HTTP services, and for the types of answers.
    calls = [path for path in owners["httpx"] if "httpx.Client(" in (PROJECT_DIR / path).read_text()]
    assert calls == [CLIENTS / "http.py"]


def test_airflow_is_imported_in_its_rooms_only():
    rooms = ("plugins/logpipe/airflow", "dags")
    users = {path for path in FILES for module in modules(parsed(path)) if module.startswith("airflow.")}
    assert {path for path in users if not any(path.is_relative_to(room) for room in rooms)} == set()


def test_a_dag_file_stands_on_what_authors_may_use():
    """Thin: operators, sensors, settings and the table of services; no clients, no work."""
    public = ("airflow.sdk", "logpipe.airflow.operators", "logpipe.airflow.sensors", "logpipe.hosts.services")
    used = {module for path in FILES if path.is_relative_to("dags") for module in modules(parsed(path))}
    own = {module for module in used if module.startswith(("airflow", "logpipe"))}
    assert {module for module in own if not module.startswith((*public, "logpipe.settings"))} == set()


def test_services_are_listed_in_the_table_only():
    names = {service.name for service in SERVICES}
    lists = {
        str(path): sorted(listed)
        for path in FILES
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict)
        and len(listed := names & {leaf.value for leaf in ast.iter_child_nodes(node) if _is_text(leaf)}) > 1
    }
    assert lists.keys() - OTHER_LISTS == set(), lists


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_the_identity_rule_stands_once():
    """Whoever takes a key apart uses its patterns: a second rule would write a pattern for digits again."""
    rule = Path("plugins/logpipe/identity.py")
    patterns = ("[1-9][0-9]{0,17}", "{0,199}")
    users = {path for path in FILES if any(text in (PROJECT_DIR / path).read_text() for text in patterns)}
    assert rule in users
    assert users - {rule} == set()
