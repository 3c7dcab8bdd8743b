"""Every trigger of the package is rebuilt by what it serializes, through JSON as Airflow stores it."""

import importlib
import json
import pkgutil
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields
from inspect import isabstract
from typing import Any, get_args, get_origin

import pytest
from airflow.sdk.serde import deserialize, serialize

import logpipe.airflow.triggers
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger

SAMPLES: dict[Any, object] = {
    str: "some text",
    float: 1.5,
    int: 3,
    bool: True,
    dict: {"kind": "Plain", "service": "web"},
    tuple: ("one", "two"),
    Mapping: {"agent_1": "flume-agent1"},
    Sequence: ["one", "two"],
}


def below(kind: type) -> list[type]:
    """Every class that can be instantiated, the last of a name: a dataclass with slots replaces its first."""
    for module in pkgutil.iter_modules(logpipe.airflow.triggers.__path__):
        importlib.import_module(f"logpipe.airflow.triggers.{module.name}")
    found = [kind]
    for parent in found:
        found += parent.__subclasses__()
    return list({item.__qualname__: item for item in found[1:] if not isabstract(item)}.values())


def sample(annotation: Any) -> object:
    if isinstance(annotation, types.UnionType):
        annotation = get_args(annotation)[0]
    return SAMPLES[get_origin(annotation) or annotation]


def samples(kind: type) -> dict[str, object]:
    return {item.name: sample(item.type) for item in fields(kind)}


@pytest.mark.parametrize("kind", below(SerializableTrigger), ids=lambda kind: kind.__name__)
def test_serialize_rebuilds_the_trigger(kind: type) -> None:
    values = samples(kind)
    path, arguments = kind(**values).serialize()
    stored = deserialize(json.loads(json.dumps(serialize(arguments))))
    module, _, name = path.rpartition(".")
    rebuilt = getattr(importlib.import_module(module), name)(**stored)
    assert type(rebuilt) is kind
    assert rebuilt.serialize() == (path, values)


@pytest.mark.parametrize("kind", below(Event), ids=lambda kind: kind.__name__)
def test_an_event_is_rebuilt_from_its_payload(kind: type) -> None:
    event = kind(**samples(kind))
    assert kind.from_payload(json.loads(json.dumps(event.to_payload()))) == event
