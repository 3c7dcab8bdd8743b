"""What a task has in its care, and how a teardown learns whether a person has ended the task."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

_KEY = "supervises"  # XCom: what is in the task's care, or was when a person ended it; else None
TEARDOWN_TRIES, TEARDOWN_DELAY_S = 100, 10.0  # while what a teardown asks is away


class SupervisingTask(BaseOperator):
    """A task that stays, deferred, for as long as something goes on, when ``supervise`` is set.

    Airflow runs a teardown behind a task that has ended by itself and behind one that a person has marked,
    and tells it no difference. This does: what has been in a task's care until a person ended it still is.
    """

    supervise: bool

    @contextmanager
    def caring(self, context: "Context", what: Any = True) -> Iterator[None]:
        """Have something in this task's care, and leave it so by a deferral, not by an error."""
        context["ti"].xcom_push(_KEY, what)
        try:
            yield
        except Exception:  # a deferral is none
            context["ti"].xcom_push(_KEY, None)
            raise

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: "Context"
    ) -> Any:
        """Go on when the trigger has ended, well or not: nothing is in this task's care any more."""
        if self.supervise:
            context["ti"].xcom_push(_KEY, None)
        return super().resume_execution(next_method, next_kwargs, context)


def in_care_of(context: "Context", task_id: str) -> list[Any]:
    """What is in the care of a task of the same run; one value for each instance of a mapped one."""
    found = context["ti"].xcom_pull(task_ids=task_id, key=_KEY)
    return [what for what in (found if isinstance(found, list) else [found]) if what]
