"""A batch program of the process host, run to its end.

`ServiceStopOperator` ends what runs under a name and holds nothing; a service that does not run is no error.
`HostProgramOperator` starts the program and waits for its end, deferred; the last line that it prints, a JSON
object, becomes the XCom.
"""

from airflow.sdk import DAG

from logpipe.airflow.operators.host_program import HostProgramOperator
from logpipe.airflow.operators.stop import ServiceStopOperator

with DAG("example_program", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    left_over = ServiceStopOperator(task_id="left_over", service="maintenance")
    program = HostProgramOperator(task_id="program", service="maintenance")

    left_over >> program
