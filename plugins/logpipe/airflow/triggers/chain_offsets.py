"""How far HDFS is by agent 2's chains of links, without blocking."""

import asyncio
from typing import TYPE_CHECKING

from logpipe.airflow.hooks.hdfs_directory import HdfsDirectoryHook

if TYPE_CHECKING:
    from logpipe.accounting.chain import Chain, ChainReader


async def chain_reader(webhdfs_conn_id: str, logs_dir: str) -> "ChainReader":
    """Make a reader of the chains in a folder, by the address and login of a connection."""
    from logpipe.accounting.chain import ChainReader
    from logpipe.clients.hdfs import Hdfs

    hdfs = HdfsDirectoryHook(webhdfs_conn_id)
    user = (await hdfs.connection()).login
    return ChainReader(Hdfs(await hdfs.base_url(), user or ""), logs_dir)


async def chains(reader: "ChainReader") -> "dict[int, Chain]":
    """Return each partition's chain.

    Raises:
        HdfsError, ChainError: HDFS does not answer, or a link cannot be read.
    """
    return await asyncio.to_thread(reader.chains)
