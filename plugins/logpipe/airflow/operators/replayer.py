"""What tasks have in common that have the replayer do something."""

import asyncio
from typing import TYPE_CHECKING, Any

from logpipe.airflow.operators.first_look import FirstLookMixin
from logpipe.airflow.operators.launch import ServiceNotHealthyError
from logpipe.airflow.operators.service import ReplayerTask

if TYPE_CHECKING:
    from logpipe.airflow.services.kinds import Service
    from logpipe.clients.replayer import Replayer


class ReplayerWorkTask(ReplayerTask, FirstLookMixin):
    """A task that has the replayer do something, launches it when it is not up, and waits for its end.

    Args:
        start_timeout_s: the task fails when the replayer is not healthy by then.
        hung_after_s: a replayer that does not answer for so long is killed, and so restarted.
        kwargs: as in `ReplayerTask`.
    """

    def __init__(self, *, start_timeout_s: float = 60, hung_after_s: float = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start_timeout_s = start_timeout_s
        self.hung_after_s = hung_after_s

    def launched_replayer(self) -> "Replayer":
        """Launch the replayer, or find it, and wait until it is healthy.

        Raises:
            ServiceNotHealthyError: it is not in time.
        """
        from logpipe.airflow.hooks.services import ReplayerHook

        self.launch(self.kept(), self.start_timeout_s)
        return ReplayerHook(self.replayer_conn_id).get_conn()

    def launch(self, service: "Service", start_timeout_s: float) -> None:
        """Launch a service, or find it, and wait until it is healthy.

        Raises:
            ServiceNotHealthyError: it is not in time.
        """
        from logpipe.airflow.triggers.service import ServiceTrigger

        service.host.launch(service.patience.stop_s)
        trigger = ServiceTrigger(
            service=service.serialize(), start_timeout_s=start_timeout_s, poll_interval_s=0.1
        )
        outcome = asyncio.run(trigger.outcome())
        if not outcome.healthy:
            tail = "\n".join(outcome.last_log_lines)
            raise ServiceNotHealthyError(f"The {outcome.service} is not healthy: {outcome.reason}\n{tail}")
