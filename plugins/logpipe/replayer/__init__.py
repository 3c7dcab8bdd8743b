"""The replayer: an ordinary program that sends the lines of a log file to Flume at a chosen pace.

It streams (download, gunzip, split, send) in bounded memory, counts only what Flume acknowledged, and goes
on exactly where it was after any interruption. It imports no Airflow and runs on while Airflow is down.
"""
