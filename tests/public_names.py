"""docs/public-names.md, from the docstrings: what a DAG's author places, with arguments, units and errors."""

import importlib
import inspect
import pkgutil
import re
from types import ModuleType

from airflow.sdk import BaseHook, BaseOperator
from airflow.triggers.base import BaseTrigger

from logpipe.airflow import hooks, operators, sensors, triggers
from logpipe.airflow.provider import get_provider_info
from logpipe.settings import PROJECT_DIR

PAGE = PROJECT_DIR / "docs" / "public-names.md"
KINDS = (
    ("Operators", operators, BaseOperator), ("Sensors", sensors, BaseOperator),
    ("Triggers", triggers, BaseTrigger), ("Hooks", hooks, BaseHook),
)  # fmt: skip
HEAD = """# Public names

What a DAG's author may place, from the docstrings; written by `make docs`. [The package](package.md)
says how to get it. Times are in seconds where a name ends in `_s`; operators and sensors take Airflow's
own arguments as well.
"""


def classes(package: ModuleType, base: type) -> list[type]:
    """The classes of a kind that a package defines and that can be made, by name."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    found = {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__ and issubclass(kind, base) and not inspect.isabstract(kind)
    }
    suffix = ("Operator", "Sensor", "Trigger", "Hook")
    return sorted((each for each in found if each.__name__.endswith(suffix)), key=lambda each: each.__name__)


def sections(text: str) -> dict[str, str]:
    """A docstring's parts: ``""`` is what stands before ``Args:`` and the like."""
    parts = re.split(r"^(Args|Raises|Returns|Attributes):\n", inspect.cleandoc(text), flags=re.MULTILINE)
    return {"": parts[0].strip(), **dict(zip(parts[1::2], parts[2::2], strict=True))}


def items(text: str) -> dict[str, str]:
    """``name: what it is`` of a section, each in one line."""
    rows = re.split(r"^ {4}(?=\S)", text, flags=re.MULTILINE)[1:]
    split = (" ".join(row.split()).partition(": ") for row in rows)
    return {name: told for name, _, told in split if name != "kwargs"}


def arguments(kind: type) -> dict[str, tuple[str, str]]:
    """What its constructor takes, the class's own first, with default and what is told of it."""
    found: dict[str, tuple[str, str]] = {}
    for base in kind.__mro__:
        if not base.__module__.startswith("logpipe."):
            continue
        told = items(sections(base.__doc__ or "").get("Args", ""))
        made = base.__dict__.get("__init__")
        defaults = inspect.signature(made).parameters if made else {}
        for name, text in told.items():
            known = defaults.get(name)
            is_given = known is not None and known.default is not inspect.Parameter.empty
            found.setdefault(name, (f"`{known.default!r}`" if known and is_given else "", text))
    return found


def errors(kind: type) -> dict[str, str]:
    """What its work raises."""
    found: dict[str, str] = {}
    for name in ("execute", "execute_complete", "finish", "get_conn"):
        found |= (
            items(sections(getattr(kind, name, None).__doc__ or "").get("Raises", ""))
            if hasattr(kind, name)
            else {}
        )
    return found


def told(kind: type) -> str:
    """One class."""
    lines = [f"### `{kind.__name__}`", "", f"`from {kind.__module__} import {kind.__name__}`", ""]
    lines += [" ".join(part.split()) + "\n" for part in sections(kind.__doc__ or "")[""].split("\n\n")]
    if taken := arguments(kind):
        lines += ["| argument | default | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {default} | {text} |" for name, (default, text) in taken.items()] + [""]
    if raised := errors(kind):
        lines += ["Raises:", "", *(f"- `{name}`: {text}" for name, text in raised.items()), ""]
    return "\n".join(lines)


def page() -> str:
    """All of it."""
    forms = get_provider_info()["connection-types"]
    text = [HEAD, "## Connections\n", "| type | in Airflow's form | hook |", "|---|---|---|"]
    text += [
        "| `{connection-type}` | {hook-name} | `{hook}` |".format(
            **form, hook=form["hook-class-name"].rpartition(".")[2]
        )
        for form in forms
    ]
    text += ["| `kafka`, `webhdfs`, `spark` | those of Airflow's providers | `KafkaHook`, `HdfsHook` |", ""]
    for title, package, base in KINDS:
        text += [f"## {title}\n", *(told(kind) for kind in classes(package, base))]
    return "\n".join(text).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
