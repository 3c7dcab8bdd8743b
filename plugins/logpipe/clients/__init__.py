"""One client for each outside system, without Airflow, each bounded in time; their calls block."""
