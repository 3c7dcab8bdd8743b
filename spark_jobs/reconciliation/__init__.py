"""Reconciles a dated HDFS partition with the topic: one small module a concern; `run.py` wires them."""
