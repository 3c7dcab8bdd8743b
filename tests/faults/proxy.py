"""A bad network on loopback: between the replayer and agent 1's Thrift port, frame by frame."""

import asyncio
import threading
from types import TracebackType
from typing import Self

LENGTH_BYTES = 4


class Proxy:
    """Passes calls on, and answers; late, cut in their middle, or not at all.

    Args:
        target_port: on loopback.
        delay_s: each answer is late by so much.
        cut_every: each so manieth answer ends in its middle, and the connection with it; 0: none.

    Attributes:
        port: on which it listens.
        answers: that came from the target.
        cut: of these, that were cut.
        holds: from when on answers are kept back.
        has_held: set once one was: it was sent, and not received.
    """

    def __init__(self, target_port: int, *, delay_s: float = 0.0, cut_every: int = 0) -> None:
        self._target_port = target_port
        self._delay_s = delay_s
        self._cut_every = cut_every
        self.port = 0
        self.answers = 0
        self.cut = 0
        self.holds = threading.Event()
        self.has_held = threading.Event()
        self._listens = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listens.wait(10)
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        server.close()
        self._loop.close()

    async def _serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            near.close()
            return
        ways = [
            asyncio.create_task(self._calls(near_reader, far)),
            asyncio.create_task(self._answers(far_reader, near)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for writer in (near, far):
                writer.transport.abort()

    @staticmethod
    async def _calls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(LENGTH_BYTES)
            answer = head + await reader.readexactly(int.from_bytes(head, "big"))
            self.answers += 1
            if self.holds.is_set():
                self.has_held.set()
                await asyncio.Event().wait()
            await asyncio.sleep(self._delay_s)
            if self._cut_every and self.answers % self._cut_every == 0:
                self.cut += 1
                writer.write(answer[: len(answer) // 2])
                await writer.drain()
                return
            writer.write(answer)
            await writer.drain()
