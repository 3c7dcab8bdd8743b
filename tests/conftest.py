import os
import tempfile

# Logs of the tests stand in temporary folders; what a test starts finds it in its environment.
os.environ.setdefault("LOGPIPE_FILE_ROOTS", tempfile.gettempdir())


def pytest_addoption(parser):
    parser.addoption("--short-faults", action="store_true", help="one fault of each kind only")
    parser.addoption(
        "--engine",
        choices=("found", "own"),
        default="found",
        help="tests of the cluster: the Docker engine that is there, or on Debian as root one of their own",
    )
