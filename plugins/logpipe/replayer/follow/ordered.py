"""The ordered hash: proves that a file begins with what was acknowledged, whatever its name."""

import xxhash

SPAN_BYTES = 1 << 20


class OrderedHash:
    """A chain over spans of `SPAN_BYTES`: each is hashed behind the hash of the one before.

    So whoever knows the chain's last link proves a file by reading less than one span of it, and whoever
    does not, by reading it from its beginning.

    Args:
        chain: the last whole span's hash, 16 hex digits; empty before the first one ends.
    """

    def __init__(self, chain: str = "") -> None:
        self._begin(chain)

    def _begin(self, chain: str) -> None:
        self.chain = chain
        self._hash = xxhash.xxh64(bytes.fromhex(chain))
        self._room = SPAN_BYTES

    def add(self, plain: bytes) -> None:
        """Take in the bytes that follow."""
        view = memoryview(plain)
        while view:
            piece, view = view[: self._room], view[self._room :]
            self._hash.update(piece)
            self._room -= len(piece)
            if not self._room:
                self._begin(self._hash.hexdigest())

    def copy(self) -> "OrderedHash":
        """The same, which takes in other bytes from now on."""
        made = OrderedHash()
        made.chain, made._hash, made._room = self.chain, self._hash.copy(), self._room
        return made

    @property
    def rest(self) -> str:
        """Hash of the last whole span's hash and what follows it, 16 hex digits."""
        return str(self._hash.hexdigest())


def span_begin(offset: int) -> int:
    """Where the span begins that an offset stands in; both count from the chain's begin."""
    return offset - offset % SPAN_BYTES
