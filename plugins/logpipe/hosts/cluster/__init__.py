"""The pipeline on a cluster of containers: its secrets, its start and end."""
