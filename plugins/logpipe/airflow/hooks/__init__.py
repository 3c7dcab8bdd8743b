"""From an Airflow connection to a client of `logpipe.clients`, and no more."""
