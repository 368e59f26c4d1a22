"""The estimate against the bytes that torch allocates, which no other process disturbs."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from eosin.models.config import HeadConfig, vit_config
from eosin.models.vit import VisionTransformer
from eosin.recipes import RECIPES, vits_1gpu
from eosin.train.config import TrainConfig
from eosin.train.memory import GIB, activation_bytes, estimate_memory
from eosin.train.num_weights import num_weights
from eosin.train.student_teacher import StudentTeacher


def kept_bytes(backbone: nn.Module, forward: Callable[[], object]) -> int:
    """Return the bytes that autograd keeps of a forward pass, but for the parameters."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = forward()
    for parameter in backbone.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    del result
    return sum(kept.values())


@pytest.mark.parametrize("num_read", [None, 0, 9])
@pytest.mark.parametrize("is_bfloat16", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.4])
@pytest.mark.parametrize(("size", "depth"), [("nano", 3), ("small", 2), ("giant2", 1)])
def test_activations_are_what_autograd_keeps(
    size: str, depth: int, rate: float, is_bfloat16: bool, num_read: int | None
):
    model = replace(
        vit_config(size, image_size=56, num_registers=4, drop_path_rate=rate), depth=depth
    )
    backbone = VisionTransformer(model).train()
    crops, masks = torch.zeros(5, 3, 56, 56), torch.zeros(5, 16, dtype=torch.bool)
    read = None if num_read is None else torch.arange(num_read)

    def forward() -> object:
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            return backbone(crops, masks, read)

    kept = kept_bytes(backbone, forward)
    if is_bfloat16:
        # Weights in bfloat16 are counted with the copies.
        matrices = (one for name, one in backbone.named_parameters() if name.endswith("weight"))
        kept -= sum(2 * one.numel() for one in matrices if one.dim() > 1)
    found = activation_bytes(
        model,
        num_crops=5,
        side_px=56,
        is_bfloat16=is_bfloat16,
        num_read=None if num_read is None else 5 + num_read,
        is_gpu=False,
    )
    assert found == pytest.approx(kept, rel=0.1)


def run_of(*, patches: int, prototypes: int, rate: float, precision: str) -> TrainConfig:
    """Return a run with the crops of a real one and a backbone of two narrow blocks."""
    run = vits_1gpu.config()
    head = HeadConfig(num_prototypes=prototypes, hidden_dim=256, bottleneck_dim=64)
    return replace(
        run,
        model=replace(vit_config("nano", num_registers=4, drop_path_rate=rate), depth=2),
        dino_head=head,
        ibot_head=head,
        start="random",
        global_batch=patches,
        precision=precision,
        data=replace(run.data, num_lanes=patches),
    )


def peak_bytes(action: Callable[[], None]) -> int:
    """Return the most bytes that live at once of all that an action allocates.

    What a convolution takes and gives back before it returns is left out: how much scratch space
    it wants is up to the library and the CPU's instruction set (104 MB with AMX, none without).
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        action()
    live = peak = 0
    returns_ns = 0
    events = found.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: event.start_ns()):
        if "convolution" in event.name():
            returns_ns = max(returns_ns, event.end_ns())
        elif event.name() == "[memory]":
            before, live = live, live + event.nbytes()
            if event.start_ns() > returns_ns:
                # What lived before may be what a convolution has returned.
                peak = max(peak, before, live)
    return max(peak, live)


def test_the_scratch_space_of_a_convolution_is_not_counted_and_what_it_returns_is():
    """Row 24 of the faults: with AMX a convolution takes 104 MB that others do without."""
    kept = []

    def convolve(*, scratch: int, returned: int) -> None:
        with record_function("aten::convolution_backward"):
            needed = torch.empty(scratch, dtype=torch.uint8)
            kept.append(torch.empty(returned, dtype=torch.uint8))
            del needed

    def step() -> None:
        first = torch.empty(300_000, dtype=torch.uint8)
        convolve(scratch=104_000_000, returned=500_000)
        del first
        convolve(scratch=1_000, returned=100_000)

    assert peak_bytes(step) == 800_000
    kept.clear()
    assert peak_bytes(lambda: convolve(scratch=104_000_000, returned=900_000)) == 900_000


def step_peak_bytes(run: TrainConfig, *, recompute: bool) -> int:
    """Return the peak of a step above the weights and AdamW's moments."""
    model = StudentTeacher(run)
    model.student["backbone"].recomputes_blocks = recompute
    optimizer = torch.optim.AdamW(model.student.parameters())
    side = run.data.global_px // run.model.patch_size
    masks = torch.zeros(2 * run.global_batch, side**2, dtype=torch.bool)
    share = run.masking.probability * sum(run.masking.ratio_range) / 2
    masks[:, : round(share * side**2)] = True

    def step() -> None:
        num_local = run.data.num_local * run.global_batch
        crops = torch.rand(2 * run.global_batch, 3, 224, 224), torch.rand(num_local, 3, 98, 98)
        is_bfloat16 = run.precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bfloat16):
            terms, _ = model.losses(*crops, masks, teacher_temperature=0.07)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()  # the moments are there afterwards
    return peak_bytes(step)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("patches", "prototypes", "rate", "recompute"),
    [
        (4, 4096, 0.1, False),
        (4, 8192, 0.4, False),
        (4, 512, 0.0, False),
        (4, 512, 0.0, True),
        (2, 65536, 0.0, False),
    ],
)
def test_the_peak_of_a_step_is_as_estimated(
    patches: int, prototypes: int, rate: float, recompute: bool, precision: str
):
    run = run_of(patches=patches, prototypes=prototypes, rate=rate, precision=precision)
    memory = estimate_memory(run, recompute=recompute, is_gpu=False)
    passing = (memory.tensors - memory.weights - memory.moments) * GIB
    assert passing == pytest.approx(step_peak_bytes(run, recompute=recompute), rel=0.05)


def test_weights_and_moments_are_five_times_the_students_weights_less_its_gradients():
    run = RECIPES["midnight12k"].config()
    memory = estimate_memory(run, num_devices=8)
    student = 4 * num_weights(run) / GIB
    assert memory.weights == memory.moments == pytest.approx(2 * student / 8)
    assert memory.total == pytest.approx(memory.tensors + memory.overhead)
    assert estimate_memory(run, num_devices=8, num_replicas=4).weights == 4 * memory.weights


def test_parts_take_activations_and_leave_gradients():
    run = RECIPES["midnight12k"].config()
    one = estimate_memory(run, num_devices=8)
    four = estimate_memory(replace(run, accumulation_steps=4), num_devices=8)
    assert four.activations == pytest.approx(one.activations / 4, rel=0.05)
    assert one.gradients == 0
    assert four.gradients == pytest.approx(4 * num_weights(run) / GIB)
    again = estimate_memory(run, num_devices=8, recompute=True)
    assert again.activations < one.activations / 4
    assert again.scores == one.scores


def test_a_device_with_few_patches_counts_on_more_than_its_mean_of_hidden_ones():
    run = RECIPES["midnight12k"].config()
    whole = estimate_memory(run, num_devices=1).scores
    few = estimate_memory(run, num_devices=96).scores
    assert whole / 96 * 2.0 < few < whole / 96 * 2.6


def test_the_description_names_every_part():
    text = estimate_memory(RECIPES["nano_cpu"].config()).describe()
    for name in ("weights", "moments", "gradients", "copies", "activations", "scores", "overhead"):
        assert f"{name} " in text
    assert text.endswith("overhead 1.5")
