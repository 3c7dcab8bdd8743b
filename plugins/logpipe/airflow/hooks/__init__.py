"""One class for each outside system, found by an Airflow connection."""
