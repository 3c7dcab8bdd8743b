"""WebHDFS with Kerberos and https: who may, who may not, and what they are told."""

import time
from pathlib import Path

import pytest
import requests

from logpipe.clients.hdfs import Hdfs, HdfsError, HdfsUnreachableError
from logpipe.clients.kerberos import Kerberos
from logpipe.page import sql
from tests.airflow.real_parts import connect
from tests.hdfs_access.conftest import SecuredHdfs
from tests.hdfs_access.kdc import REALM
from tests.machine import HDFS_USER

HOME = f"/user/{HDFS_USER}"


def test_the_pipeline_reads_and_writes(secured: SecuredHdfs) -> None:
    hdfs = Hdfs.of(secured.settings)
    hdfs.write(f"{HOME}/some/file", b"line\n" * 100_000)
    hdfs.rename(f"{HOME}/some/file", f"{HOME}/some/other")
    hdfs.set_attribute(f"{HOME}/some/other", "user.a", b"b")
    assert hdfs.attribute(f"{HOME}/some/other", "user.a") == b"b"
    assert hdfs.read(f"{HOME}/some/other") == b"line\n" * 100_000
    assert hdfs.list("/user")[0].owner == HDFS_USER


def test_a_connection_leads_there(told: SecuredHdfs, monkeypatch: pytest.MonkeyPatch) -> None:
    from logpipe.airflow.hooks.stores import HdfsHook

    address = {"host": "localhost", "port": told.settings.namenode_http_port, "extra": {"use_ssl": True}}
    connect(monkeypatch, "webhdfs_default", conn_type="webhdfs", **address)
    hook = HdfsHook()
    assert [entry.name for entry in hook.hdfs().list("/user")] == [HDFS_USER]
    assert hook.check_for_path("/user")  # the provider's own


def test_sql_reads_lines(secured: SecuredHdfs) -> None:
    Hdfs.of(secured.settings).write(
        f"{secured.settings.hdfs_logs_dir}/26-03-10/apache_logs-1.log", b"a line\n"
    )
    connection, _ = sql.connect(secured.settings)
    assert connection.execute("SELECT line FROM lines WHERE day = '26-03-10'").fetchall() == [("a line",)]
    Hdfs.of(secured.settings).delete(secured.settings.hdfs_logs_dir)


@pytest.mark.parametrize("who", ["", "user.name=nn", f"user.name={HDFS_USER}"])
def test_nobody_is_believed(secured: SecuredHdfs, who: str) -> None:
    name, node = secured.webhdfs_url, f"https://localhost:{secured.settings.datanode_http_port}"
    file = f"webhdfs/v1{HOME}/some/other?op=OPEN&namenoderpcaddress={secured.url.removeprefix('hdfs://')}"
    pages = (f"{name}/webhdfs/v1{HOME}?op=LISTSTATUS", f"{name}/jmx?", f"{node}/jmx?", f"{node}/{file}")
    for page in pages:
        answer = requests.get(f"{page}&{who}", verify=secured.settings.hadoop_ca_file, timeout=20)
        assert answer.status_code in (401, 403), answer.text


def test_somebody_else_is_refused(secured: SecuredHdfs) -> None:
    with pytest.raises(HdfsError, match=r"AccessControlException: Permission denied: user=mallory"):
        secured.client(secured.somebody("mallory")).list(HOME)


def test_who_comes_without_a_proof_is_told_what_is_missing(secured: SecuredHdfs) -> None:
    hdfs = Hdfs(secured.webhdfs_url, HDFS_USER, ca_file=secured.settings.hadoop_ca_file)
    with pytest.raises(
        HdfsError, match=rf"does not take user {HDFS_USER}, without a proof: see LOGPIPE_KERBER"
    ):
        hdfs.list(HOME)


def test_errors_name_principal_keytab_and_the_way_out(secured: SecuredHdfs, tmp_path: Path) -> None:
    ours = secured.settings.kerberos_keytab
    gone, changed = secured.somebody("gone"), secured.somebody("changed")
    secured.kdc.forget("gone")
    old = tmp_path / "old.keytab"
    old.write_bytes(Path(changed.keytab).read_bytes())
    secured.somebody("changed")
    for who, words in (
        (Kerberos(f"nobody@{REALM}", ours), f"nobody@{REALM} .*{ours}.*holds no key of it"),
        (Kerberos(f"{HDFS_USER}@{REALM}", "/not/there"), "Keytab /not/there of bigdata@.* is not there"),
        (gone, "gone@.*not found in Kerberos database.*LOGPIPE_KERBEROS_PRINCIPAL"),
        (Kerberos(changed.principal, str(old)), "the keys were changed since the keytab was made"),
    ):
        with pytest.raises(HdfsError, match=words):
            secured.client(who).list(HOME)


def test_a_kdc_that_is_away_is_told_soon(secured: SecuredHdfs) -> None:
    late = secured.somebody("late")
    secured.kdc.end()
    began = time.monotonic()
    try:
        with pytest.raises(HdfsUnreachableError, match="Cannot contact any KDC"):
            secured.client(late).list(HOME)
    finally:
        secured.kdc.start()
    assert time.monotonic() - began < 60
    with pytest.raises(HdfsError, match="Permission denied: user=late"):
        secured.client(late).list(HOME)


def test_other_authorities_are_refused(secured: SecuredHdfs, tmp_path: Path) -> None:
    ours = Kerberos.of(secured.settings)
    with pytest.raises(HdfsUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        Hdfs(secured.webhdfs_url, "", kerberos=ours).list(HOME)
    with pytest.raises(HdfsError, match=r"/not/there can't be read: see LOGPIPE_HADOOP_CA_FILE"):
        Hdfs(secured.webhdfs_url, "", kerberos=ours, ca_file="/not/there")
