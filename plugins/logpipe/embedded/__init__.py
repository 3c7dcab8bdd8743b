"""The whole pipeline on one machine: its services under a process host, and the commands behind make."""
