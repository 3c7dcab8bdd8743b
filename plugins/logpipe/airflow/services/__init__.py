"""What is launched, supervised and stopped: a service, at the host that keeps its process."""
