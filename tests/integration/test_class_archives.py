"""The archives of classes that the install has made fit the JVMs that are started with them."""

import os
import subprocess
from pathlib import Path

import pyspark
import pytest

from logpipe.hosts.environment import class_path, shared_classes

REFUSE_TO_RUN_WITHOUT = "-Xshare:on"


@pytest.mark.parametrize("component", ["kafka", "hadoop", "flume"])
def test_a_jvm_takes_the_archive_of_its_jars(component, tmp_path):
    (tmp_path / "hdfs-site.xml").touch()  # a class path with a folder that is not empty can't be archived
    assert shared_classes(component)
    java = ("java", REFUSE_TO_RUN_WITHOUT, *class_path(component, tmp_path), "-version")
    answer = subprocess.run(java, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_spark_takes_its_own_and_prints_nothing_of_it(tmp_path):
    (tmp_path / "hdfs-site.xml").touch()
    options = " ".join((REFUSE_TO_RUN_WITHOUT, *shared_classes("spark")))
    assert "SharedArchiveFile" in options
    environment = os.environ | {"SPARK_SUBMIT_OPTS": options, "HADOOP_CONF_DIR": str(tmp_path)}
    spark_submit = Path(pyspark.__path__[0]) / "bin" / "spark-submit"
    answer = subprocess.run(
        [spark_submit, "--version"], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout == ""


def test_another_class_path_does_without(tmp_path):
    (tmp_path / "hdfs-site.xml").touch()
    *options, jars = class_path("kafka")
    for more, status in (((), 0), ((REFUSE_TO_RUN_WITHOUT,), 1)):
        java = ("java", *more, *options, f"{tmp_path}:{jars}", "-version")
        assert subprocess.run(java, capture_output=True, check=False).returncode == status
