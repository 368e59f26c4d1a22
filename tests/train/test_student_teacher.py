from dataclasses import replace

import pytest
import torch

from eosin.losses.kde import kde_loss
from eosin.train.config import LossConfig
from eosin.train.param_groups import set_rates
from eosin.train.rates import RateSchedules
from eosin.train.step import initial_model, make_optimizer
from eosin.train.student_teacher import StudentTeacher, collapse_gauges
from ranks import on_ranks
from train.tiny import tiny_config

BATCH = 4


def crops(px: int, views: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(px)
    return torch.randn(views * BATCH, 3, px, px, generator=generator)


def masks() -> torch.Tensor:
    drawn = torch.zeros(2 * BATCH, 16, dtype=torch.bool)
    drawn[::2, :5] = True
    return drawn


def terms_of(model: StudentTeacher) -> dict[str, float]:
    torch.manual_seed(0)
    terms, _ = model.losses(crops(56, 2), crops(28, 2), masks(), 0.05)
    return {name: float(term.detach()) for name, term in terms.items()}


def test_hidden_patches_that_are_known_are_not_looked_for(monkeypatch: pytest.MonkeyPatch):
    """On a GPU looking for them is waiting for all that was begun before."""
    model = initial_model(tiny_config())
    expected = terms_of(model)
    hidden = masks().flatten().nonzero().squeeze(1)

    def looked_for(*args: object) -> None:
        raise AssertionError

    monkeypatch.setattr(torch.Tensor, "nonzero", looked_for)
    torch.manual_seed(0)
    terms, _ = model.losses(crops(56, 2), crops(28, 2), masks(), 0.05, hidden=hidden)
    assert {name: float(term.detach()) for name, term in terms.items()} == expected


def test_the_teacher_begins_as_the_student_and_learns_nothing_by_itself():
    model = initial_model(tiny_config())
    student, teacher = model.student.state_dict(), model.teacher.state_dict()
    assert all(torch.equal(student[name], teacher[name]) for name in student)
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())


def test_the_teacher_skips_no_residual_branch():
    model = initial_model(tiny_config())
    assert {block.drop_path_rate for block in model.student["backbone"].blocks} == {0.2}
    assert {block.drop_path_rate for block in model.teacher["backbone"].blocks} == {0.0}


def test_the_teacher_moves_by_one_minus_its_momentum():
    model = initial_model(tiny_config())
    before = [parameter.clone() for parameter in model.teacher.parameters()]
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    model.update_teacher(0.9)
    moves = [now - then for now, then in zip(model.teacher.parameters(), before, strict=True)]
    assert all(torch.allclose(move, torch.full_like(move, 0.1), atol=1e-6) for move in moves)


def test_weights_multiply_their_terms():
    config = tiny_config()
    plain = terms_of(initial_model(config))
    losses = replace(
        config.losses, dino_weight=2.0, ibot_weight=3.0, kde_weight=2 * config.losses.kde_weight
    )
    weighted = terms_of(initial_model(replace(config, losses=losses)))
    assert weighted["loss_dino_local"] == pytest.approx(2 * plain["loss_dino_local"])
    assert weighted["loss_dino_global"] == pytest.approx(2 * plain["loss_dino_global"])
    assert weighted["loss_ibot"] == pytest.approx(3 * plain["loss_ibot"])
    assert weighted["loss_kde"] == pytest.approx(2 * plain["loss_kde"])


def test_koleo_takes_the_place_of_kde_when_asked():
    losses = LossConfig(kde_weight=0.0, koleo_weight=0.1)
    terms = terms_of(initial_model(tiny_config(losses=losses)))
    assert "loss_koleo" in terms
    assert "loss_kde" not in terms


def test_kde_is_summed_over_the_two_views_and_sees_one_view_at_a_time():
    model = initial_model(tiny_config())
    torch.manual_seed(0)
    terms, cls_tokens = model.losses(crops(56, 2), crops(28, 2), masks(), 0.05)
    by_hand = sum(kde_loss(view, kappa=5.0) for view in cls_tokens.chunk(2))
    assert float(terms["loss_kde"].detach()) == pytest.approx(
        model.config.losses.kde_weight * float(by_hand.detach())
    )


def test_all_parts_of_the_student_learn():
    model = initial_model(tiny_config())
    make_optimizer(model, model.config)
    terms, _ = model.losses(crops(56, 2), crops(28, 2), masks(), 0.05)
    torch.stack(list(terms.values())).sum().backward()
    without = [name for name, p in model.student.named_parameters() if p.grad is None]
    assert without == []
    assert all(p.grad is None for p in model.teacher.parameters())


def test_a_shared_head_serves_both_losses():
    model = initial_model(tiny_config(ibot_head=None))
    assert set(model.parts) == {"backbone", "dino_head"}
    assert terms_of(model)["loss_ibot"] > 0


def test_softmax_centring_keeps_a_running_centre_that_starts_a_step_late():
    model = initial_model(tiny_config(losses=LossConfig(centering="softmax")))
    first = terms_of(model)
    assert terms_of(model) == first
    model.update_teacher(1.0)
    assert model.dino_center.abs().max() > 0
    assert model.ibot_center.abs().max() > 0
    assert terms_of(model) != first


def test_a_center_moves_once_a_step_to_the_mean_over_its_parts():
    losses = LossConfig(centering="softmax")
    whole = initial_model(tiny_config(losses=losses))
    in_parts = initial_model(tiny_config(losses=losses, accumulation_steps=2))
    global_crops, all_masks = (
        crops(56, 2).unflatten(0, (2, BATCH)),
        masks().unflatten(0, (2, BATCH)),
    )
    nothing = torch.empty(0, 3, 1, 1)
    whole.losses(global_crops.flatten(0, 1), nothing, all_masks.flatten(0, 1), 0.05)
    for half in (slice(0, 2), slice(2, 4)):
        part = global_crops[:, half].flatten(0, 1), nothing, all_masks[:, half].flatten(0, 1)
        in_parts.losses(*part, 0.05)
    for model in (whole, in_parts):
        model.update_teacher(1.0)
    assert torch.allclose(in_parts.dino_center, whole.dino_center, atol=1e-7)
    assert torch.allclose(in_parts.ibot_center, whole.ibot_center, atol=1e-7)


def test_a_skipped_step_leaves_no_trace_in_the_centers():
    config = tiny_config(losses=LossConfig(centering="softmax"))
    skipping, straight = initial_model(config), initial_model(config)
    skipping.losses(crops(56, 2) * torch.nan, crops(28, 2), masks(), 0.05)
    for model in (skipping, straight):
        model.losses(crops(56, 2), crops(28, 2), masks(), 0.05)
        model.update_teacher(1.0)
    assert torch.equal(skipping.dino_center, straight.dino_center)
    assert torch.equal(skipping.ibot_center, straight.ibot_center)


def test_without_weight_there_is_no_ibot_and_nothing_is_hidden():
    model = initial_model(tiny_config(losses=LossConfig(ibot_weight=0.0)))
    assert set(model.parts) == {"backbone", "dino_head"}
    terms = terms_of(model)
    assert set(terms) == {"loss_dino_local", "loss_dino_global", "loss_kde"}
    torch.manual_seed(0)
    unmasked, _ = model.losses(crops(56, 2), crops(28, 2), torch.zeros_like(masks()), 0.05)
    assert {name: float(term.detach()) for name, term in unmasked.items()} == terms


def test_without_ibot_nothing_moves_the_mask_token():
    config = tiny_config(losses=LossConfig(ibot_weight=0.0))
    model = initial_model(config)
    token = model.student["backbone"].mask_token
    optimizer = make_optimizer(model, config)
    assert not any(p is token for group in optimizer.param_groups for p in group["params"])


def test_with_the_backbone_frozen_a_step_moves_only_the_heads():
    tiny = tiny_config()
    config = replace(tiny, optim=replace(tiny.optim, freeze_backbone_steps=2, warmup_steps=0))
    model = initial_model(config)
    optimizer = make_optimizer(model, config)
    schedules = RateSchedules(config)
    moved = []
    for step in range(3):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        terms, _ = model.losses(crops(56, 2), crops(28, 2), masks(), 0.05)
        torch.stack(list(terms.values())).sum().backward()
        rates = schedules.at(step)
        set_rates(optimizer, rates)
        optimizer.step()
        optimizer.zero_grad()
        model.update_teacher(rates.teacher_momentum)
        after = dict(model.named_parameters())
        moved.append({name for name, then in before.items() if not torch.equal(then, after[name])})
    heads = {"student.dino_head", "student.ibot_head", "teacher.dino_head", "teacher.ibot_head"}
    for names in moved[:2]:
        assert {".".join(name.split(".")[:2]) for name in names} == heads
    assert any(name.startswith("student.backbone.blocks") for name in moved[2])
    assert any(name.startswith("teacher.backbone.blocks") for name in moved[2])


def test_without_local_crops_only_the_global_pairs_count():
    config = tiny_config()
    views = tuple(view for view in config.data.views if view.name.startswith("global"))
    model = initial_model(replace(config, data=replace(config.data, views=views)))
    terms, _ = model.losses(crops(56, 2), torch.empty(0, 3, 1, 1), masks(), 0.05)
    assert float(terms["loss_dino_local"].detach()) == 0
    assert float(terms["loss_dino_global"].detach()) > 0


def test_without_masked_patches_the_ibot_loss_is_zero():
    model = initial_model(tiny_config())
    terms, _ = model.losses(crops(56, 2), crops(28, 2), torch.zeros_like(masks()), 0.05)
    assert float(terms["loss_ibot"].detach()) == 0


def test_gauges_tell_a_collapse_from_a_spread():
    same = collapse_gauges(torch.ones(16, 8) + 1e-4 * torch.randn(16, 8))
    spread = collapse_gauges(torch.linalg.qr(torch.randn(8, 8)).Q)
    assert float(same["mean_cosine"]) == pytest.approx(1.0, abs=1e-3)
    assert float(same["feature_std"]) < 0.01
    assert float(spread["mean_cosine"]) == pytest.approx(0.0, abs=1e-5)
    assert float(spread["feature_std"]) == pytest.approx(1.0, abs=0.1)


def test_gauges_on_any_ranks_are_those_of_all_tokens():
    tokens = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    expected = collapse_gauges(tokens)
    # Three ranks with two tokens and six with one measure what one process does.
    for num_ranks in (3, 6):
        for gauges in on_ranks(
            num_ranks, lambda r, n=num_ranks: collapse_gauges(tokens.chunk(n)[r])
        ):
            assert {name: float(value) for name, value in gauges.items()} == pytest.approx(
                {name: float(value) for name, value in expected.items()}
            )
