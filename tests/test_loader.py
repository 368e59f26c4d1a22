import gc
import threading
import time
from dataclasses import dataclass, replace

import pytest
import torch

from busy_stream import threads_alive
from eosin.augment import DeviceViews
from eosin.errors import ConfigError, StreamStalledError
from eosin.filters import PatchFilter
from eosin.loader import Share, to_model_input, train_batches
from eosin.masking import BlockMasking
from eosin.stream.watch import Patience
from eosin.transforms import HEDColorAugmentation, NormalizeTransform
from eosin.views import DeferredViews, RandomResizedCrop, ViewConfig
from made_slides import synthetic_pipeline

VIEWS = (
    ViewConfig(name="global", crop=RandomResizedCrop(size=28, scale=(0.32, 1.0)), count=2),
    ViewConfig(name="local", crop=RandomResizedCrop(size=14), count=3),
)


def endless(**settings):
    defaults = {"cycle": True, "num_lanes": 4, "pool_size": 2, "slide_sampling": "random"}
    return synthetic_pipeline(6, **{**defaults, **settings})


def training_stream(**settings):
    return endless(views=VIEWS, shared_transforms=HEDColorAugmentation(), **settings)


def batches(steps, pipeline=None, **settings):
    """Return the batches of steps that have one part."""
    return [batch for (batch,) in steps_of(steps, pipeline, **settings)]


def steps_of(steps, pipeline=None, *, share=None, **settings):
    defaults = {"grid_size": 2, "masking": BlockMasking()}
    return list(
        train_batches(
            pipeline or training_stream(),
            steps=steps,
            share=share or Share(batch_size=8),
            **{**defaults, **settings},
        )
    )


def same(one, other):
    return (
        one.step == other.step
        and [s.coordinate for s in one.samples] == [s.coordinate for s in other.samples]
        and torch.equal(one.global_crops, other.global_crops)
        and torch.equal(one.local_crops, other.local_crops)
        and torch.equal(one.masks, other.masks)
        and torch.equal(one.hidden, other.hidden)
        and one.places_sum == other.places_sum
    )


def test_a_batch_holds_the_samples_of_its_step_view_by_view():
    pipeline = training_stream()
    (batch,) = batches(range(2, 3), pipeline)
    assert [sample.index for sample in batch.samples] == list(range(16, 24))
    assert batch.global_crops.shape == (16, 28, 28, 3)
    assert batch.local_crops.shape == (24, 14, 14, 3)
    for number in range(8):
        views = pipeline.read(16 + number).views
        assert (batch.global_crops[number].numpy() == views["global_0"]).all()
        assert (batch.global_crops[8 + number].numpy() == views["global_1"]).all()
        assert (batch.local_crops[16 + number].numpy() == views["local_2"]).all()
    # Their pixels are there once.
    assert {(sample.views, sample.image) for sample in batch.samples} == {(None, None)}


def test_half_of_the_global_crops_have_a_mask_over_the_models_grid():
    (batch,) = batches(range(1), grid_size=7, masking=BlockMasking(probability=0.5))
    assert batch.masks.shape == (16, 49)
    assert int(batch.masks.any(1).sum()) == 8


def test_hidden_patches_are_numbered_row_by_row_in_each_part():
    share = Share(batch_size=8, num_parts=2)
    for part in steps_of(range(1), share=share, grid_size=7)[0]:
        assert torch.equal(part.hidden, part.masks.flatten().nonzero().squeeze(1))
        assert len(part.hidden) > 0


@pytest.mark.parametrize("num_threads", [0, 2])
def test_a_batch_is_a_pure_function_of_the_step(num_threads):
    whole = batches(range(5))
    later = batches(range(3, 5), training_stream(num_threads=num_threads))
    assert all(same(one, other) for one, other in zip(whole[3:], later, strict=True))
    assert not same(whole[3], replace(whole[4], step=3))


def test_the_checksum_changes_with_any_place_and_with_the_numbers_of_two_places():
    (batch,) = batches(range(1))
    first, second, *others = batch.samples
    moved = replace(first, coordinate=replace(first.coordinate, x=first.coordinate.x + 1))
    swapped = (replace(second, index=first.index), replace(first, index=second.index))
    assert replace(batch, samples=(*swapped, *others)).places_sum != batch.places_sum
    assert replace(batch, samples=(moved, second, *others)).places_sum != batch.places_sum


@pytest.mark.parametrize(("num_parts", "world_size"), [(1, 2), (2, 1), (2, 2), (1, 4), (2, 4)])
def test_shares_of_a_step_put_together_are_the_step(num_parts, world_size):
    (whole,) = batches(range(1, 2), grid_size=4)
    shares = [
        Share(batch_size=8, num_parts=num_parts, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    parts = [
        (share, batch)
        for share in shares
        for (step,) in [steps_of(range(1, 2), share=share, grid_size=4)]
        for batch in step
    ]
    assert sum(batch.places_sum for _, batch in parts) == whole.places_sum
    seen = []
    for share, batch in parts:
        positions = share.positions(batch.part)
        assert {position // (8 // num_parts) for position in positions} == {batch.part}
        seen += positions
        crops = [view * 8 + position for view in range(2) for position in positions]
        assert torch.equal(batch.masks, whole.masks[crops])
        assert torch.equal(batch.global_crops, whole.global_crops[crops])
        local = [view * 8 + position for view in range(3) for position in positions]
        assert torch.equal(batch.local_crops, whole.local_crops[local])
    assert sorted(seen) == list(range(8))


def test_a_rank_reads_from_its_own_lanes_alone():
    (step,) = steps_of(range(1), share=Share(batch_size=8, rank=1, world_size=2))
    assert {sample.index % 2 for sample in step[0].samples} == {1}


def test_processes_that_do_not_divide_the_batch_or_the_lanes_are_refused():
    with pytest.raises(ConfigError, match="cannot be shared by 3 processes"):
        Share(batch_size=8, world_size=3)
    with pytest.raises(ConfigError, match="num_lanes=4 cannot be shared by 8 processes"):
        steps_of(range(1), share=Share(batch_size=8, world_size=8))


def test_views_without_local_ones_give_no_local_crops():
    (batch,) = batches(range(1), endless(views=VIEWS[:1]))
    assert batch.local_crops.shape[0] == 0


def test_training_refuses_streams_that_end_and_views_that_are_no_bytes():
    with pytest.raises(ConfigError, match="cycle=True"):
        batches(range(1), synthetic_pipeline(views=VIEWS))
    normalize = NormalizeTransform(mean=(0.5,) * 3, std=(0.5,) * 3)
    floats = tuple(replace(view, transforms=normalize) for view in VIEWS)
    with pytest.raises(
        ConfigError, match=r"views global_0, .*local_2 are float32 and must be uint8"
    ):
        batches(range(1), endless(views=floats))


def test_model_input_is_normalized_with_channels_first():
    crops = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2, 4, 5, 3)
    made = to_model_input(crops, (0.5, 0.2, 0.25), (0.5, 0.1, 0.75), torch.device("cpu"))
    assert made.shape == (2, 3, 4, 5)
    assert made[0, :, 0, 0].tolist() == pytest.approx([-1, 0, 1], abs=1e-6)


def test_what_model_input_is_scaled_by_is_made_once_and_changes_no_bit(monkeypatch):
    mean, std, cpu = (0.71, 0.52, 0.63), (0.11, 0.22, 0.33), torch.device("cpu")
    crops = torch.arange(256).repeat(3).reshape(2, 32, 4, 3).byte()
    scale = torch.tensor([1 / (255 * s) for s in std])
    offset = torch.tensor([m / s for m, s in zip(mean, std, strict=True)])
    expected = crops.permute(0, 3, 1, 2).float() * scale[:, None, None] - offset[:, None, None]
    assert torch.equal(to_model_input(crops, mean, std, cpu), expected)
    monkeypatch.setattr(torch, "tensor", None)
    assert torch.equal(to_model_input(crops, mean, std, cpu), expected)


def on_device(views=VIEWS, shared=None):
    return DeviceViews(shared=shared, views=views, device=torch.device("cpu"))


def test_crops_cut_on_the_device_are_those_of_the_cpu():
    shared = HEDColorAugmentation(sigma=0.2)
    pipeline = endless(transforms=DeferredViews(shared=shared, views=VIEWS))
    deferred = batches(range(2), pipeline, device_views=on_device(shared=shared))
    on_cpu = batches(range(2), endless(views=VIEWS, shared_transforms=shared))
    for ours, theirs in zip(deferred, on_cpu, strict=True):
        assert ours.places_sum == theirs.places_sum
        for kind in ("global_crops", "local_crops"):
            one, other = getattr(ours, kind), getattr(theirs, kind)
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            assert int((one.int() - other.int()).abs().max()) <= 2
        assert torch.equal(ours.masks, theirs.masks)
        pairs = zip(ours.samples, theirs.samples, strict=True)
        assert all(o.augmentation["transforms"] == t.augmentation for o, t in pairs)


def test_a_pipeline_that_cuts_its_views_leaves_nothing_to_the_device():
    with pytest.raises(ConfigError, match="transforms=DeferredViews"):
        batches(range(1), device_views=on_device())


# Ahead of the loop


@dataclass(frozen=True, kw_only=True)
class Noting(PatchFilter):
    """Notes that a patch was read."""

    reads: list

    def accept(self, image):
        self.reads.append(1)
        return True


def begun(pipeline, *, batch_size=8, num_steps=9):
    """Return the steps of a stream as they come."""
    share = Share(batch_size=batch_size)
    settings = {"share": share, "grid_size": 2, "masking": BlockMasking()}
    return train_batches(pipeline, steps=range(num_steps), **settings)


def until(is_so):
    """Wait for threads; what they did is for the test to say."""
    deadline = time.monotonic() + 120
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.002)


def test_the_next_step_is_put_together_and_the_share_after_it_read_ahead_and_no_more():
    reads = []
    pipeline = training_stream(num_threads=2, patch_filter=Noting(reads=reads))
    steps = begun(pipeline, batch_size=64)
    next(steps)
    # Two steps, and with the third what the two threads hold.
    ahead = 64 + 64 + 64 + 2
    until(lambda: len(reads) >= ahead)
    time.sleep(0.05)
    assert len(reads) == ahead
    assert pipeline.stats.num_delivered == 0
    steps.close()
    assert threads_alive() == []


def test_without_threads_nothing_is_read_before_it_is_asked_for():
    reads = []
    steps = begun(training_stream(patch_filter=Noting(reads=reads)))
    assert len(reads) == 0
    next(steps)
    assert len(reads) == 8
    steps.close()
    assert threads_alive() == []


def test_no_thread_is_left_when_steps_are_forgotten():
    steps = begun(training_stream(num_threads=2))
    next(steps)
    assert len(threads_alive()) == 3
    del steps
    gc.collect()
    assert threads_alive() == []


def drawing_with(pipeline, before):
    """Let a pipeline's threads do something before each sample."""
    original = pipeline._draw

    def draw(index):
        before(index)
        return original(index)

    pipeline._draw = draw
    return pipeline


@pytest.mark.parametrize("num_threads", [0, 2])
def test_an_error_of_the_stream_comes_after_the_steps_before_it(num_threads):
    def stall(index):
        if index >= 19:
            raise StreamStalledError("no slide gives it")

    steps = begun(drawing_with(training_stream(num_threads=num_threads), stall))
    assert [next(steps)[0].step for _ in range(2)] == [0, 1]
    with pytest.raises(StreamStalledError, match="no slide gives it"):
        next(steps)
    assert threads_alive() == []


def hanging(release, **settings):
    """Return a stream that hangs after the first step of 8, and its threads that read."""
    readers = set()

    def hang(index):
        readers.add(threading.current_thread())
        if index >= 8:
            release.wait(300)

    return drawing_with(training_stream(num_threads=2, **settings), hang), readers


def test_closing_while_a_read_hangs_does_not_leave_the_thread_that_waits_for_it():
    release = threading.Event()
    pipeline, readers = hanging(release)
    before = set(threading.enumerate())
    steps = begun(pipeline)
    next(steps)
    (waiting,) = set(threading.enumerate()) - before - readers
    closing = threading.Thread(target=steps.close, daemon=True)
    closing.start()
    waiting.join(100)
    has_ended = not waiting.is_alive()
    release.set()
    closing.join(100)
    assert has_ended
    assert threads_alive() == []


def test_a_read_that_hangs_ends_the_loop_and_is_named():
    release = threading.Event()
    pipeline, readers = hanging(release, patience=Patience(warning_s=0.5, timeout_s=2.0))
    steps = begun(pipeline)
    next(steps)
    with pytest.raises(StreamStalledError, match="no sample for"):
        next(steps)
    release.set()
    for thread in readers:
        thread.join(100)
    assert threads_alive() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_gpu_takes_batches_without_being_waited_for():
    (batch,) = batches(range(1), training_stream(num_threads=2), is_pinned=True)
    gpu, half = torch.device("cuda"), (0.5, 0.5, 0.5)
    for crops in (batch.global_crops, batch.local_crops):
        assert crops.is_pinned()
        to_model_input(crops, half, half, gpu)
    try:
        torch.cuda.set_sync_debug_mode("error")
        to_model_input(batch.global_crops, half, half, gpu)
        batch.masks.to(gpu, non_blocking=True)
        batch.hidden.to(gpu, non_blocking=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert batch.masks.is_pinned()
    assert batch.hidden.is_pinned()
