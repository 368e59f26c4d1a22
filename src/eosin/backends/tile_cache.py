"""What a process remembers of the tiles of all its slides, bounded in bytes.

Decoded tiles that are wanted again: random places hardly ever hit a cache, and keeping what they
decode would cost memory and time. So a tile is kept when it is decoded for the second time within a
while, which grids and thumbnails do.

And which tiles are sound: of those no more rows than needed are decoded.
"""

import os
import threading
from collections import OrderedDict
from typing import final

import numpy as np
from jaxtyping import UInt8

TileKey = tuple[int, int, int]
"""Slide handle, level and tile."""

CACHE_BYTES = 64 * 2**20
_NUM_REMEMBERED = 4096
_NUM_SOUND = 2**20
"""Tiles that are known to be sound: 8 bytes each."""


@final
class TileCache:
    """Least recently used tiles. Safe from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._lock = threading.Lock()
        self._tiles: OrderedDict[TileKey, UInt8[np.ndarray, "height width 3"]] = OrderedDict()
        self._seen: OrderedDict[TileKey, None] = OrderedDict()

    def get(self, key: TileKey, num_rows: int) -> UInt8[np.ndarray, "_rows width 3"] | None:
        """Return a tile if it is there with at least that many rows."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is None or len(tile) < num_rows:
                return None
            self._tiles.move_to_end(key)
            return tile

    def wants(self, key: TileKey) -> bool:
        """Return whether a tile that had to be decoded should be offered: it was before."""
        with self._lock:
            was_seen = key in self._seen
            self._seen[key] = None
            self._seen.move_to_end(key)
            if len(self._seen) > _NUM_REMEMBERED:
                self._seen.popitem(last=False)
            return was_seen

    def put(self, key: TileKey, tile: UInt8[np.ndarray, "rows width 3"]) -> None:
        """Keep a tile that nobody will write to."""
        with self._lock:
            before = self._tiles.pop(key, None)
            self.num_bytes += tile.nbytes - (0 if before is None else before.nbytes)
            self._tiles[key] = tile
            while self.num_bytes > self.max_bytes and self._tiles:
                _, dropped = self._tiles.popitem(last=False)
                self.num_bytes -= dropped.nbytes

    def forget(self, slide: int) -> None:
        """Drop the tiles of a slide that is closed."""
        with self._lock:
            for key in [key for key in self._tiles if key[0] == slide]:
                self.num_bytes -= self._tiles.pop(key).nbytes

    def clear(self) -> None:
        """Begin anew, as in a child process, where the lock may be held for ever."""
        self._lock = threading.Lock()
        self._tiles.clear()
        self._seen.clear()
        self.num_bytes = 0


@final
class SoundTiles:
    """Which tiles were decoded whole without complaint. Safe from several threads.

    A table of fixed size: a tile may push another out, which is then decoded whole once more.
    """

    def __init__(self) -> None:
        self._marks = np.zeros(_NUM_SOUND, np.int64)

    def has(self, version: str, level: int, number: int) -> bool:
        """Return whether a tile is sound in this version of a file."""
        mark = hash((version, level, number))
        return bool(self._marks[mark % _NUM_SOUND] == mark)

    def add(self, version: str, level: int, number: int) -> None:
        """Note that a tile is sound."""
        mark = hash((version, level, number))
        self._marks[mark % _NUM_SOUND] = mark


SHARED_CACHE = TileCache(CACHE_BYTES)
SOUND_TILES = SoundTiles()
"""Of this process."""

os.register_at_fork(after_in_child=SHARED_CACHE.clear)
