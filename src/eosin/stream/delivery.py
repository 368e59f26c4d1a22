"""What is kept of each sample that a stream delivers: its counts, and its row in a manifest."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

from eosin.plain import Plain
from eosin.stream.manifest import ManifestWriter
from eosin.stream.result import PatchResult
from eosin.stream.stats import StreamStats


@final
class DeliveryLog:
    """Counts samples as they are delivered, and writes them down where there is a manifest."""

    def __init__(
        self, stats: StreamStats, manifest: Path | None, *, anonymous: bool = False
    ) -> None:
        self._stats = stats
        self._manifest = manifest
        self._anonymous = anonymous
        self._writer: ManifestWriter | None = None

    def record(self, result: PatchResult, settings: Callable[[], Mapping[str, Plain]]) -> None:
        """Count a sample and write it down.

        Args:
            result: The sample.
            settings: Of the stream; asked for once, as the manifest begins.

        Raises:
            InputError: If the manifest is that of a stream with other settings.
        """
        self._stats.count(result)
        if self._manifest is not None:
            if self._writer is None:
                self._writer = ManifestWriter(self._manifest, settings(), anonymous=self._anonymous)
            self._writer.record(result)

    def flush(self) -> None:
        """Put what was recorded on disk."""
        if self._writer is not None:
            self._writer.flush()
