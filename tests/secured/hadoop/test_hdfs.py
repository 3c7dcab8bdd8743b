"""WebHDFS with Kerberos and https: who may, who may not, and what they are told."""

import pytest
import requests

from logpipe.clients.hdfs import Hdfs
from tests.machine import HDFS_USER
from tests.secured.hadoop.conftest import SecuredHdfs

HOME = f"/user/{HDFS_USER}"


def test_the_pipeline_reads_and_writes(secured: SecuredHdfs) -> None:
    hdfs = Hdfs.of(secured.settings)
    hdfs.write(f"{HOME}/some/file", b"line\n" * 100_000)
    hdfs.rename(f"{HOME}/some/file", f"{HOME}/some/other")
    hdfs.set_attribute(f"{HOME}/some/other", "user.a", b"b")
    assert hdfs.attribute(f"{HOME}/some/other", "user.a") == b"b"
    assert hdfs.read(f"{HOME}/some/other") == b"line\n" * 100_000
    assert hdfs.list("/user")[0].owner == HDFS_USER


@pytest.mark.parametrize("who", ["", "user.name=nn", f"user.name={HDFS_USER}", "user.name=root"])
def test_nobody_is_believed(secured: SecuredHdfs, who: str) -> None:
    for url in (
        f"{secured.settings.webhdfs_url}/webhdfs/v1{HOME}?op=LISTSTATUS&{who}",
        f"{secured.settings.webhdfs_url}/jmx?{who}",
        f"https://localhost:{secured.settings.datanode_http_port}/jmx?{who}",
    ):
        answer = requests.get(url, verify=secured.settings.hadoop_ca_file, timeout=20)
        assert answer.status_code in (401, 403), answer.text
