"""The DAGs know the streams of the table of services, and stop them in its order."""

import runpy

from logpipe.hosts.services import names
from logpipe.settings import PROJECT_DIR


def test_the_stop_dag_stops_every_stream_in_the_tables_order():
    dag = runpy.run_path(str(PROJECT_DIR / "dags" / "stop_pipeline.py"))["dag"]
    in_order = list(reversed(names("stream")))
    assert dag.params.get_param("service").schema["enum"] == ["all", *in_order]
    assert [task.service for task in dag.topological_sort()] == in_order
