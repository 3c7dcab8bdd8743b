"""How far the windows are, without blocking."""

import asyncio

from logpipe.airflow.hooks.hdfs_directory import HdfsDirectoryHook


async def window_offsets(webhdfs_conn_id: str, checkpoint_dir: str) -> dict[int, int]:
    """Return the next offset of each partition that the windows cover."""
    hdfs = HdfsDirectoryHook(webhdfs_conn_id)
    user = (await hdfs.connection()).login
    return await asyncio.to_thread(_covered_offsets, await hdfs.base_url(), user, checkpoint_dir)


def _covered_offsets(webhdfs_url: str, user: str | None, checkpoint_dir: str) -> dict[int, int]:
    from logpipe.accounting.windows import covered_offsets

    return covered_offsets(webhdfs_url, user=user, checkpoint_dir=checkpoint_dir)
