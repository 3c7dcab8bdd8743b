"""What the wheel has besides its packages; an editable installation finds it in the checkout."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# In a folder of the package that stands for the checkout, each thing where it stands there: see PROJECT_DIR.
SHIPPED = (
    "dags", "flume_conf", "conf/alerts.toml", "spark_jobs/stream_windows.py", "build/jars/page",
    "build/jars/flume/logpipe-flume.jar", "build/jars/spark",
)  # fmt: skip


class Shipped(BuildHookInterface):
    """Puts it there. Airflow looks for examples beside a provider's modules."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before a wheel is built."""
        if version == "standard":
            build_data["force_include"] |= {path: f"logpipe/shipped/{path}" for path in SHIPPED}
            build_data["force_include"]["dags/examples"] = "logpipe/example_dags"
