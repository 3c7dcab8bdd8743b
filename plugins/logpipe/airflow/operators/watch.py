"""Telling people of alerts."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias, BaseOperator

from logpipe.airflow.operators.first_look import WORKER_GONE_S

if TYPE_CHECKING:
    from airflow.sdk import Context


class AlertsUntoldError(RuntimeError):
    """The rules cannot work, the page's service is away, or no notifier sends; the message says which."""


class WatchOperator(BaseOperator):
    """Waits, deferred, for an alert that fires or resolves; sends it by the notifiers of the rules.

    Each that fires is an event of ``asset`` too, with its figures in ``extra``. Where some can be sent and
    some cannot, the task succeeds, and the others come again within minutes; it fails when none can.

    Args:
        asset: gets the events; the task's outlets hold an alias of the same name.
        page_conn_id: connection to the page's service, which looks at the rules.
        poll_interval_s: between two looks.
        patience_s: a service that is away for longer makes the task fail.
        at_most_s: the task succeeds after so long with nothing to tell; None: it waits for ever.
    """

    template_fields: Sequence[str] = ("page_conn_id",)

    def __init__(
        self,
        *,
        asset: Asset,
        page_conn_id: str = "page_default",
        poll_interval_s: float = 10,
        patience_s: float = 300,
        at_most_s: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.alias = AssetAlias(f"{asset.name}s")
        super().__init__(outlets=[self.alias], **kwargs)
        self.asset = asset
        self.page_conn_id = page_conn_id
        self.poll_interval_s = poll_interval_s
        self.patience_s = patience_s
        self.at_most_s = at_most_s

    def execute(self, context: "Context") -> None:
        """Defer until there is something to tell."""
        from logpipe.airflow.triggers.alert import AlertTrigger

        self.defer(
            trigger=AlertTrigger(
                page_conn_id=self.page_conn_id,
                poll_interval_s=self.poll_interval_s,
                patience_s=self.patience_s,
                at_most_s=self.at_most_s,
                not_before_epoch_s=time.time() + WORKER_GONE_S,
            ),
            method_name="execute_complete",
        )

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> list[dict[str, Any]]:
        """Send, and return what was sent.

        Raises:
            AlertsUntoldError: nothing could be sent.
            RulesError: the rules cannot work.
        """
        from logpipe.airflow.hooks.services import PageHook
        from logpipe.airflow.tell import tell, view
        from logpipe.airflow.triggers.alert import AlertEvent
        from logpipe.alerts.state import change_of

        outcome = AlertEvent.from_payload(event)
        if outcome.error and not outcome.changes:
            raise AlertsUntoldError(outcome.error)
        changes = [change_of(change) for change in outcome.changes]
        sent, failures = tell(PageHook(self.page_conn_id).get_conn(), changes, context)
        for failure in failures:
            self.log.error("%s", failure)
        if changes and not sent:
            raise AlertsUntoldError("; ".join(failures))
        for change in sent:
            self.log.info("Alert %s %s: %s", change.alert.key, change.kind, change.alert.told)
            if change.kind == "firing":
                context["outlet_events"][self.alias].add(self.asset, extra=view(change))
        return [view(change) for change in sent]
