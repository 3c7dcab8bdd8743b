"""Whether a trigger that Airflow cancels may stop what it watches."""

import asyncio
from collections.abc import Coroutine
from typing import Any

# A task in one of these goes on, or will be tried again.
GOING_ON = frozenset(
    {None, "scheduled", "queued", "running", "deferred", "restarting", "up_for_retry", "up_for_reschedule"}
)
OWNER_KEY = "owner"

_outliving: set[asyncio.Task[None]] = set()  # the loop itself holds its tasks weakly


async def outliving(stop: Coroutine[Any, Any, None]) -> None:
    """Run the work of an ``on_kill`` to its end, even when the trigger does not live so long.

    Airflow 3.3 cancels a trigger again each second, and with it what its ``on_kill`` waits for.
    """
    task = asyncio.create_task(stop)
    _outliving.add(task)
    task.add_done_callback(_outliving.discard)
    await asyncio.shield(task)


class Ownership:
    """Tells a task that a person ended from one that was cleared.

    Airflow cancels a trigger in the same way when its task was marked failed or succeeded, when its run
    was deleted, and when it was cleared. After a clear the next try takes over what runs, maybe before
    the old trigger is cancelled and maybe after. So a trigger may stop a service only when its task does
    not go on, and when no later try has written its own token into XCom.

    Args:
        task_instance: of the trigger, as Airflow set it.
        token: what this try wrote under `OWNER_KEY` when it launched.
    """

    def __init__(self, task_instance: Any, token: str | None) -> None:
        self._task_instance = task_instance
        self._token = token

    async def ended(self) -> bool:
        """Whether this task has been ended for good."""
        task = self._task_instance
        states = await asyncio.to_thread(_task_states, task.dag_id, task.run_id, task.task_id)
        key = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
        # A deleted run has no states at all.
        if key in states and states[key] in GOING_ON:
            return False
        return await self._owner() in {None, self._token}

    async def _owner(self) -> str | None:
        from airflow.sdk.execution_time.xcom import XCom

        owner = await XCom.aget_one(key=OWNER_KEY, **place_of(self._task_instance))
        return None if owner is None else str(owner)


def place_of(task_instance: Any) -> dict[str, Any]:
    """Where a task's XComs are."""
    return {name: getattr(task_instance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}


def _task_states(dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    answer = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=[run_id], task_ids=[task_id])
    states: dict[str, str | None] = answer.get(run_id, {})
    return states
