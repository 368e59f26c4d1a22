from dataclasses import replace

import pytest
import torch

from eosin.augment import DeviceViews
from eosin.errors import ConfigError
from eosin.loader import Share, to_model_input, train_batches
from eosin.masking import BlockMasking
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


def test_half_of_the_global_crops_have_a_mask_over_the_models_grid():
    (batch,) = batches(range(1), grid_size=7, masking=BlockMasking(probability=0.5))
    assert batch.masks.shape == (16, 49)
    assert int(batch.masks.any(1).sum()) == 8


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
