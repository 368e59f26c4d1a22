"""A page that shows what a recipe would train on, before anything is trained."""

from pathlib import Path

from eosin.backends.base import SlideBackend
from eosin.catalog import SlideEntry, Slides
from eosin.plain import to_plain
from eosin.report.page import Page, Section, check_page, configuration, write_page
from eosin.report.stream import sample_stream, stream_sections
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
) -> None:
    """Write the page.

    Args:
        path: Of the page.
        config: Of the recipe.
        slides: Which ones.
        backend: Opens the slides.
        title: Name of the recipe.
        mask_store: Where tissue masks are found, such as those of a scan.

    Raises:
        InputError: If there are no slides.
        StreamStalledError: If the slides do not give patches.
        ConfigError: If something else than a page of eosin is at `path`.
        WriteError: If the page cannot be written, such as on a full disk.
    """
    check_page(path)
    sampled = sample_stream(config, slides, backend, mask_store=mask_store)
    plain = to_plain(config)
    assert isinstance(plain, dict)
    page = Page(
        title=f"Preview of {title}",
        summary=f"What a model would see of {len(sampled.pipeline.slides)} slides.",
        sections=(
            *stream_sections(sampled, backend),
            Section(heading="Settings", blocks=(configuration("every setting", plain),)),
        ),
    )
    write_page(path, page)
