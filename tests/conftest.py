def pytest_addoption(parser):
    parser.addoption("--short-faults", action="store_true", help="one fault of each kind only")
