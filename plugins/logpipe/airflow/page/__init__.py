"""The page *Logs* inside Airflow: its files, and the way to its service. It holds no figures itself."""
