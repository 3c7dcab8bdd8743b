"""Accounting for every line."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class LinesUnaccountedError(RuntimeError):
    """Source, topic, HDFS and windows do not hold the same multiset of lines."""


class VerifyOperator(BaseOperator):
    """Compares the lines of all replays with topic, HDFS and windows; fails when any is lost or doubled."""

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return the accounting: source, topic, hdfs, windows, lost and doubled, in lines.

        Raises:
            LinesUnaccountedError: a line is lost or doubled somewhere.
        """
        from logpipe import settings
        from logpipe.accounting.verify import verify

        accounting = verify(settings.load())
        result: dict[str, Any] = accounting.to_json()
        if not accounting.ok:
            details = "\n".join(accounting.details)
            raise LinesUnaccountedError(
                f"{accounting.lost} lines lost, {accounting.doubled} doubled: {result}. "
                "`make repair` sends again what never reached Kafka, and mends files on HDFS; "
                f"then clear this task: it compares anew.\n{details}"
            )
        self.log.info("Every line is accounted for: %s", result)
        return result
