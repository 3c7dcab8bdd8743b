"""Each parser of the list has its corpus, and what looks like a parser in the code is on the list."""

import ast
import re
from collections.abc import Iterator

from logpipe.settings import PROJECT_DIR
from tests.fuzz.parsers import PARSERS, UNLISTED
from tests.fuzz.test_fuzz import CORPUS, corpus

NAMED_AS_PARSERS = re.compile(
    r"(?:from_(?:json|file|request|payload)|parse(?:_\w+)?|compile_\w+|decode|\w+_of_list)"
)


def named_as_parsers() -> Iterator[tuple[str, str]]:
    """Functions by name, those of classes with it, and their file."""
    for room in ("plugins", "spark_jobs"):
        for path in sorted((PROJECT_DIR / room).rglob("*.py")):
            tree = ast.parse(path.read_text())
            classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
            owners = {id(inner): owner.name for owner in classes for inner in owner.body}
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and NAMED_AS_PARSERS.fullmatch(node.name):
                    owner = owners.get(id(node))
                    yield (f"{owner}.{node.name}" if owner else node.name), str(path.relative_to(PROJECT_DIR))


def test_what_is_named_as_a_parser_is_on_the_list() -> None:
    covered = {name for parser in PARSERS.values() for name in parser.covers} | UNLISTED.keys()
    missing = {
        f"{name} ({path})"
        for name, path in named_as_parsers()
        if name not in covered and name.rpartition(".")[2] not in covered
    }
    assert not missing, "on no parser of tests/fuzz/parsers.py, and not in UNLISTED"


def test_what_is_on_the_list_is_there() -> None:
    known = {name for name, _ in named_as_parsers()} | {
        name.rpartition(".")[2] for name, _ in named_as_parsers()
    }
    listed = {name for parser in PARSERS.values() for name in parser.covers} | UNLISTED.keys()
    assert {name for name in listed if NAMED_AS_PARSERS.fullmatch(name.rpartition(".")[2])} <= known


def test_each_has_a_corpus_and_no_corpus_is_left() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {*PARSERS, "json"}
    for name in PARSERS:
        assert len(corpus(name)) >= 3, name
