"""A watch over the pipeline's rules, as `dags/watch_logs.py` has one: it sends alerts, and emits an asset.

A DAG that acts on alerts has `schedule=[Asset("apache_logs_alert")]`, and finds the figures of
each in its event's `extra`.
"""

from airflow.sdk import DAG, Asset

from logpipe.airflow.operators.watch import WatchOperator

with DAG("example_alerts", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    # It ends after 20 s with nothing to tell; one that watches for ever leaves that out.
    watch = WatchOperator(task_id="watch", asset=Asset("apache_logs_alert"), poll_interval_s=5, at_most_s=20)
