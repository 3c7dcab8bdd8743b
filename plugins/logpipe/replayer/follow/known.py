"""What a followed log remembers of its generations, so that no file is sent twice and none is passed over."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from logpipe.replayer.errors import SourceError
from logpipe.replayer.follow.files import OpenLog, Rotated, is_copy, proves
from logpipe.replayer.follow.generation import HEAD_BYTES, Generation, Head, number_of
from logpipe.replayer.follow.part import Part, last_line_end
from logpipe.replayer.record import ReplayRecord

SLACK_S = 60.0  # a file may be written to later than the one that took its place
_KNOWN = 50  # generations whose files may still be there
_SAME_TIME_S = 0.001  # a compressed file has the time of the plain one


class Known:
    """The newest generations of a log, each with the place behind its acknowledged lines."""

    def __init__(self) -> None:
        self._generations: dict[int, tuple[Generation, int]] = {}

    def add(self, record: ReplayRecord) -> None:
        """So that no other file is taken for a generation's, nor its file for another one's."""
        assert record.generation is not None
        number = number_of(record.spec.replay_id)
        self._generations[number] = record.generation, record.place.offset
        before = self.written_at(0.0) - 2 * SLACK_S
        while len(self._generations) > _KNOWN:
            oldest = min(self._generations)
            if self._generations[oldest][0].written_at >= before:
                break
            del self._generations[oldest]

    def written_at(self, default: float) -> float:
        """When the newest of their files was written to, seconds since 1970; the default, where none is."""
        return max((each.written_at for each, _ in self._generations.values()), default=default)

    def inodes(self) -> set[int]:
        """Of their files."""
        return {each.inode for each, _ in self._generations.values()}

    def has_unreadable(self, old: Rotated, parts: Iterable[Part]) -> bool:
        """Whether a file that nobody here can unpack has the time of one."""
        return any(_is_of(old, generation) for generation, _, _ in self._now(parts))

    def has(self, old: Rotated, file: OpenLog, parts: Collection[Part]) -> bool:
        """Whether an old file is that of a generation, compressed or not, or a copy of one."""
        try:
            head = file.read(0, HEAD_BYTES)
            return any(
                generation.head.fits(head)
                and (
                    old.identity == (generation.device, generation.inode)
                    or _is_of(old, generation)
                    or lost_bytes  # its copy may end before what was read of it
                    or proves(file, generation, offset) is not None
                )
                for generation, offset, lost_bytes in self._now(parts)
            ) or any(is_copy(file, part.file) for part in parts if part.file is not None)
        except (OSError, SourceError):
            return False

    def _now(self, parts: Iterable[Part]) -> list[tuple[Generation, int, bool]]:
        """The generations that have a head, their places, and whether bytes of theirs were lost.

        Of what is open the head is as it is now.
        """
        open_now = {number_of(part.record.spec.replay_id): part for part in parts}
        known = []
        for number, (recorded, offset) in self._generations.items():
            part, generation = open_now.get(number), recorded
            is_truncated = part is not None and part.is_truncated
            if part is not None and part.file is not None and not is_truncated:
                begin = part.file.read(0, HEAD_BYTES)
                if recorded.head.fits(begin):  # else it was truncated, and nobody has noticed yet
                    generation = replace(recorded, head=Head.of(begin))
            if generation.head.size_bytes:
                known.append((generation, offset, is_truncated or generation.unknown is not None))
        return known

    def left_of(self, file: OpenLog, head: bytes) -> int:
        """Where to go on in a file that begins as one that was sent: it came back, or lost its end."""
        return max(
            (
                last_line_end(file, offset)
                for generation, offset in self._generations.values()
                if file.identity == (generation.device, generation.inode)
                and generation.head.size_bytes
                and generation.head.fits(head)
            ),
            default=0,
        )


def sent_before(file: OpenLog, known: Iterable[ReplayRecord]) -> int:
    """How far earlier generations have sent a file."""
    places = [0]
    for record in known:
        generation = record.generation
        if generation and generation.head.size_bytes:
            try:
                if proves(file, generation, record.place.offset) is not None:
                    places.append(record.place.offset)
            except (OSError, SourceError):
                continue
    return max(places)


def _is_of(old: Rotated, generation: Generation) -> bool:
    return abs(old.written_at - generation.written_at) < _SAME_TIME_S
