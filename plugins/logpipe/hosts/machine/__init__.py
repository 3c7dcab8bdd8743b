"""The pipeline on one machine: configurations, process host, start and end of the services."""
