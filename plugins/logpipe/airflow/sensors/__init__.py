"""What a DAG author places in a DAG to wait for the outside world."""
