"""Where the pipeline runs: one machine, a cluster of containers."""
