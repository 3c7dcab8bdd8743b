"""The streaming windows job, a module a concern; `stream_windows.py` next to this folder starts it."""
