"""The control plane: what stands in DAGs, and what watches and steers from there."""
