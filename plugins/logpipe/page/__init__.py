"""The page's service: follows the pipeline, keeps what it last knew, and answers the page inside Airflow.

A process of its own, so that no frozen store takes Airflow's API server along. Each outside system is asked
in a thread of its own (`watched`); answers are made from what these last heard, with its age.
"""
