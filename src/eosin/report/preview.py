"""A page that shows what a recipe would train on, before anything is trained."""

from collections.abc import Mapping
from pathlib import Path

from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides
from eosin.errors import StreamStalledError
from eosin.plain import to_plain
from eosin.report.page import Page, Section, check_page, configuration, write_page
from eosin.report.stream import left_out_section, sample_stream, stream_sections
from eosin.tissue.store import MaskStore
from eosin.train.config import TrainConfig


def write_preview(
    path: Path,
    config: TrainConfig,
    slides: Slides | tuple[SlideEntry, ...],
    backend: SlideBackend,
    *,
    title: str,
    mask_store: MaskStore | None = None,
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Write the page; where no slide gives a patch, the page that shows why, before the error.

    Args:
        path: Of the page.
        config: Of the recipe.
        slides: Which ones.
        backend: Opens the slides.
        title: Name of the recipe.
        mask_store: Where tissue masks are found, such as those of a scan.
        left_out: Slides that were named and are not used, with the reason.

    Raises:
        InputError: If there are no slides.
        StreamStalledError: If the slides do not give patches.
        ConfigError: If something else than a page of eosin is at `path`.
        WriteError: If the page cannot be written, such as on a full disk.
    """
    check_page(path)
    sampled = sample_stream(config, slides, backend, mask_store=mask_store, keep_stalled=True)
    plain = to_plain(config)
    assert isinstance(plain, dict)
    num_slides, num_left_out = len(sampled.pipeline.slides), len(left_out or {})
    also = f"; {num_left_out:,} others are left out" if num_left_out else ""
    page = Page(
        title=f"Preview of {title}",
        summary=f"What a model would see of {num_slides:,} slides{also}.",
        sections=(
            *stream_sections(sampled, backend),
            *left_out_section(left_out or {}),
            Section(heading="Settings", blocks=(configuration("every setting", plain),)),
        ),
    )
    write_page(path, page)
    if sampled.stalled is not None:
        raise StreamStalledError(f"{sampled.stalled} ({path} shows them)") from sampled.stalled
