"""What a DAG author places in a DAG to change the outside world."""
