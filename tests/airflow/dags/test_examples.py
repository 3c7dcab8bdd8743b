"""Each operator and each sensor that a team may use stands in an example."""

import importlib
import inspect
import pkgutil
import runpy
from types import ModuleType

import pytest
from airflow.sdk import BaseOperator

from logpipe.airflow import operators, sensors
from logpipe.settings import PROJECT_DIR

EXAMPLES = sorted((PROJECT_DIR / "dags" / "examples").glob("*.py"))


def public(package: ModuleType) -> set[type[BaseOperator]]:
    """The operators, or sensors, that are defined in a package and can be made."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    return {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__
        and issubclass(kind, BaseOperator)
        and kind.__name__.endswith(("Operator", "Sensor"))
        and not inspect.isabstract(kind)
    }


def used() -> set[str]:
    """Names of the classes of all tasks of all examples, mapped ones too."""
    dags = [runpy.run_path(str(example))["dag"] for example in EXAMPLES]
    return {task.task_type for dag in dags for task in dag.tasks}


@pytest.mark.parametrize("package", [operators, sensors], ids=lambda package: package.__name__)
def test_each_has_an_example(package: ModuleType) -> None:
    found = {kind.__name__ for kind in public(package)}
    assert len(found) >= 3
    assert found - used() == set()
