"""What Airflow reads of this package as it starts: the entry point ``apache_airflow_provider``.

Names only: nothing of what they name is imported, since each of Airflow's processes reads this.
"""

from typing import Any

PACKAGE = "logpipe"
_HOOKS = "logpipe.airflow.hooks.services"
_OPEN = ("extra", "login", "password")  # fields that a service has no use for which asks nobody who they are
_SECRET = "that of secrets.json where it runs"  # noqa: S105


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, as Airflow's ``provider_info.schema.json`` has it."""
    return {
        "package-name": PACKAGE,
        "name": "Logpipe",
        "description": "Streams web servers' logs through Flume, Kafka, HDFS and Spark; every line counts.",
        "connection-types": [
            _form("process_host", "ProcessHost", "Process host (supervisord)", 9001, socket=True),
            _form("replayer", "Replayer", "Log replayer", 9010),
            _form("page", "Page", "Page of the logs", 9011),
            _form("flume_agent", "FlumeAgent", "Flume agent", 24541, *_OPEN),
            _form("spark_driver", "SparkDriver", "Spark driver", 4040, *_OPEN),
            _form("yarn", "Yarn", "YARN ResourceManager", 8088, *_OPEN),
        ],
        "extra-links": ["logpipe.airflow.operators.report.ReportLink"],
    }


def _form(kind: str, hook: str, title: str, port: int, *hidden: str, socket: bool = False) -> dict[str, Any]:
    """A type of connections and its form; fields that are hidden are of no use to it."""
    host = "Host, or hosts with commas"
    placeholders = {
        "host": "localhost",
        "port": str(port),
        "schema": "http",
        "login": PACKAGE,
        "password": _SECRET,
    }
    return {
        "connection-type": f"{PACKAGE}_{kind}",
        "hook-class-name": f"{_HOOKS}.{hook}Hook",
        "hook-name": title,
        "ui-field-behaviour": {
            "hidden-fields": [*(hidden or ("extra",))],
            "relabeling": {
                "host": f"{host}, or its socket's path" if socket else host,
                "schema": "Scheme, http or https",
            },
            "placeholders": {name: text for name, text in placeholders.items() if name not in hidden},
        },
    }
