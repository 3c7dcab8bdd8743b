"""A batch program under a real process host: its report is the result, and its failure the task's."""

import asyncio
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from logpipe.airflow.operators.host_program import HostProgramError, HostProgramOperator
from tests.airflow.real_parts import ProcessHostUnderTest

pytestmark = pytest.mark.integration


class TaskInstance:
    """Takes what the operator leaves in XCom."""

    def xcom_push(self, key: str, value: object) -> None:
        pass


def run() -> dict[str, Any]:
    operator = HostProgramOperator(task_id="chore", service="chore")
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute({"ti": TaskInstance()})  # type: ignore[typeddict-item]

    async def fired() -> dict[str, Any]:
        event = await asyncio.wait_for(anext(aiter(deferral.value.trigger.run())), 30)
        return event.payload  # type: ignore[no-any-return]

    return operator.finish({}, asyncio.run(fired()))


def test_the_report_of_a_program_that_did_its_work_is_the_result(process_host: ProcessHostUnderTest) -> None:
    (process_host.folder / "failed").write_text("{}")
    first, second = run(), run()
    assert first["failed"] == second["failed"] == {}
    assert first["pid"] != second["pid"]


def test_what_failed_is_named(process_host: ProcessHostUnderTest) -> None:
    (process_host.folder / "failed").write_text('{"checkpoint": "the NameNode is away"}')
    with pytest.raises(HostProgramError, match="the NameNode is away"):
        run()


def test_the_report_of_an_earlier_process_is_not_taken(process_host: ProcessHostUnderTest) -> None:
    (process_host.folder / "failed").write_text("{}")
    run()
    (process_host.folder / "failed").unlink()  # now it ends without a report
    with pytest.raises(HostProgramError, match="it ended without a report"):
        run()
