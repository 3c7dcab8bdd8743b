"""Sends changes of alerts by Airflow's notifiers that the rules name; ``python -m logpipe.airflow.tell``.

The task `watch` does it. The page's service starts this as a program when that task is gone.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from logpipe import settings
from logpipe.alerts.rules import Notify, Rules, load
from logpipe.alerts.state import Change, change_of
from logpipe.clients.errors import ClientError
from logpipe.clients.page import LogsPage

log = logging.getLogger(__name__)


def rules() -> Rules:
    """Those of this pipeline.

    Raises:
        RulesError: they cannot work.
    """
    own = settings.load().alerts_file
    return load(Path(own) if own else None)


def tell(
    page: LogsPage, changes: Sequence[Change], context: Mapping[str, Any]
) -> tuple[list[Change], list[str]]:
    """Send changes, each once by each notifier, and have the page's service know.

    Args:
        page: handed them out.
        changes: what became of alerts.
        context: of a task, for the notifiers' templates; they find ``alert`` in it too.

    Returns:
        Those that all notifiers have sent, and why others were not.

    Raises:
        RulesError: the rules cannot work.
        ClientError: the page's service is away; what was sent meanwhile is sent again.
    """
    notifiers = rules().notify
    sent: list[Change] = []
    failures: list[str] = []
    for change in changes:
        done = set(change.done)
        for number, notify in enumerate(notifiers):
            if number in done or change.alert.severity not in notify.severities:
                continue
            try:
                _send(notify, dict(context) | {"alert": view(change)})
            except Exception as error:  # noqa: BLE001 - any notifier's; the others are tried
                failures.append(f"{notify.notifier} has not sent {change.alert.key}: {error!r}")
            else:
                done.add(number)
        is_over = all(
            number in done or change.alert.severity not in notify.severities
            for number, notify in enumerate(notifiers)
        )
        page.told(change.number, done, is_over=is_over)
        if is_over:
            sent.append(change)
    return sent, failures


def _send(notify: Notify, context: dict[str, Any]) -> None:
    module, _, name = notify.notifier.rpartition(".")
    getattr(import_module(module), name)(**notify.arguments)(context)


def view(change: Change) -> dict[str, Any]:
    """What a notifier's templates, and an asset's event, say of a change."""
    alert = change.alert
    return {
        "state": change.kind,
        **{
            name: getattr(alert, name)
            for name in ("number", "key", "rule", "severity", "title", "told", "step")
        },
        "fired_at": _iso(alert.fired_at_s),
        "resolved_at": _iso(alert.resolved_at_s),
    }


def _iso(at_s: float | None) -> str:
    return "" if at_s is None else datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def main() -> int:
    """Send what nobody has sent; gives the exit status."""
    from logpipe.airflow.hooks.services import PageHook

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        page = PageHook().get_conn()
        changes = [change_of(change) for change in page.take()["changes"]]
        sent, failures = tell(page, changes, {})
    except (ClientError, ValueError) as error:
        sent, failures = [], [str(error)]
    log.info("Sent without Airflow's task: %d changes", len(sent))
    for failure in failures:
        log.error("%s", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
