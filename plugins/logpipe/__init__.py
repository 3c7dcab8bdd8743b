"""A streaming pipeline for web server logs, steered by Airflow."""
