import multiprocessing
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from eosin.errors import ConfigError
from eosin.loader import PatchDataset, to_model_input, train_batches
from eosin.masking import BlockMasking
from eosin.transforms import HEDColorAugmentation, NormalizeTransform
from eosin.views import RandomResizedCrop, ViewConfig
from made_slides import file_pipeline, synthetic_pipeline, write_folder

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
    defaults = {"batch_size": 8, "grid_size": 2, "masking": BlockMasking()}
    made = train_batches(pipeline or training_stream(), steps=steps, **{**defaults, **settings})
    return list(made)


def same(one, other):
    return (
        one.step == other.step
        and [s.coordinate for s in one.samples] == [s.coordinate for s in other.samples]
        and torch.equal(one.global_crops, other.global_crops)
        and torch.equal(one.local_crops, other.local_crops)
        and torch.equal(one.masks, other.masks)
        and one.places_crc == other.places_crc
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


def test_the_checksum_changes_with_any_place_and_the_order():
    (batch,) = batches(range(1))
    first, second, *others = batch.samples
    moved = replace(first, coordinate=replace(first.coordinate, x=first.coordinate.x + 1))
    assert replace(batch, samples=(second, first, *others)).places_crc != batch.places_crc
    assert replace(batch, samples=(moved, second, *others)).places_crc != batch.places_crc


def test_views_without_local_ones_give_no_local_crops():
    (batch,) = batches(range(1), endless(views=VIEWS[:1]))
    assert batch.local_crops.shape[0] == 0


def test_training_refuses_streams_that_end_and_views_that_are_no_bytes():
    with pytest.raises(ConfigError, match="cycle=True"):
        batches(range(1), synthetic_pipeline(views=VIEWS))
    normalize = NormalizeTransform(mean=(0.5,) * 3, std=(0.5,) * 3)
    floats = tuple(replace(view, transforms=normalize) for view in VIEWS)
    with pytest.raises(ConfigError, match="global views are float32 and must be uint8"):
        batches(range(1), endless(views=floats))


def test_model_input_is_normalized_with_channels_first():
    crops = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2, 4, 5, 3)
    made = to_model_input(crops, (0.5, 0.2, 0.25), (0.5, 0.1, 0.75), torch.device("cpu"))
    assert made.shape == (2, 3, 4, 5)
    assert made[0, :, 0, 0].tolist() == pytest.approx([-1, 0, 1], abs=1e-6)


# PatchDataset


@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 1), (2, 1), (1, 4), (2, 2), (4, 1)])
def test_ranks_and_workers_together_deliver_every_sample_once(monkeypatch, world_size, num_workers):
    pipeline = endless()
    delivered = []
    lanes = []
    for rank in range(world_size):
        for worker in range(num_workers):
            info = SimpleNamespace(id=worker, num_workers=num_workers) if num_workers > 1 else None
            monkeypatch.setattr("eosin.loader.get_worker_info", lambda info=info: info)
            dataset = PatchDataset(pipeline, rank=rank, world_size=world_size)
            share = 32 // (world_size * num_workers)
            indices = [item["index"] for item in islice(dataset, share)]
            delivered += indices
            assert {index % 4 % world_size for index in indices} == {rank}
            lanes.append({index % 4 for index in indices})
    assert sorted(delivered) == list(range(32))
    assert sum(len(own) for own in lanes) == 4


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_deliver_every_sample_once_and_the_same(tmp_path, context):
    pipeline = file_pipeline(write_folder(tmp_path / "slides"), num_lanes=2, pool_size=2)
    # The parent has slides open, which a forked worker must not read from.
    alone = {index: pipeline.read(index).image for index in range(16)}
    loader = DataLoader(
        PatchDataset(pipeline),
        batch_size=4,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context(context),
    )
    got = {}
    for batch in islice(loader, 4):
        for index, image in zip(batch["index"].tolist(), batch["images"]["image"], strict=True):
            got[index] = np.moveaxis(image.numpy(), 0, -1)
    assert sorted(got) == list(range(16))
    assert all((got[index] == alone[index]).all() for index in got)


def test_a_worker_reads_from_slides_of_its_own(monkeypatch):
    pipeline = endless()
    for index in range(8):
        pipeline.read(index)
    for ready in pipeline._store._ready.values():
        ready.slide.close()
    info = SimpleNamespace(id=0, num_workers=1)
    monkeypatch.setattr("eosin.loader.get_worker_info", lambda: info)
    items = list(islice(PatchDataset(pipeline), 8))
    expected = [endless().read(index).coordinate for index in range(8)]
    assert [(item["x"], item["y"]) for item in items] == [(at.x, at.y) for at in expected]


def test_an_item_has_its_views_channels_first_and_its_place():
    pipeline = training_stream()
    item = next(iter(PatchDataset(pipeline)))
    sample = pipeline.read(0)
    assert set(item["images"]) == {"global_0", "global_1", "local_0", "local_1", "local_2"}
    assert item["images"]["local_1"].shape == (3, 14, 14)
    assert item["images"]["local_1"].dtype == torch.uint8
    assert (item["x"], item["y"], item["mpp"]) == (
        sample.coordinate.x,
        sample.coordinate.y,
        sample.coordinate.mpp,
    )


def test_a_dataset_begins_at_the_cursor():
    pipeline = endless()
    pipeline.next_index = 10
    dataset = PatchDataset(pipeline, rank=1, world_size=2)
    assert [item["index"] for item in islice(dataset, 3)] == [11, 13, 15]


@pytest.mark.parametrize(
    ("settings", "shares", "what"),
    [
        ({}, {"rank": 2, "world_size": 2}, "rank=2 must be below world_size=2"),
        ({}, {"rank": 0, "world_size": 3}, "cannot be shared by 3 ranks"),
        ({"cycle": False, "num_lanes": 1}, {}, "cycle=False"),
    ],
)
def test_streams_that_cannot_be_shared_are_refused(settings, shares, what):
    with pytest.raises(ConfigError, match=what):
        PatchDataset(endless(**settings), **shares)


def test_workers_that_do_not_divide_the_lanes_are_refused(monkeypatch):
    info = SimpleNamespace(id=0, num_workers=3)
    monkeypatch.setattr("eosin.loader.get_worker_info", lambda: info)
    with pytest.raises(ConfigError, match="num_lanes=4 must be a multiple of 1 ranks times 3"):
        next(iter(PatchDataset(endless())))
