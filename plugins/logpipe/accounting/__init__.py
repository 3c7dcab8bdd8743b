"""Compares what was sent with what arrived, as multisets of lines."""
