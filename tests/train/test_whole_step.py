"""Golden values: facebookresearch/dinov2 b8931f7, train/ssl_meta_arch.py, on a CPU.

Its `forward_backward` had the weights, crops and masks of whole_step.py; then came its parameter
groups, clipping of each part at 3.0, AdamW and its update of the teacher; and all again.
Its `koleo_loss` and `ibot_loss` are displayed as halves, and are doubled here.
"""

import pytest

from train.whole_step import step_config, two_steps

KOLEO = {"kde_weight": 0.0, "koleo_weight": 0.1}

SEPARATE_HEADS_SINKHORN_KNOPP = [
    {
        "loss_dino_local": 4.1599202,
        "loss_dino_global": 1.4096829,
        "loss_ibot": 2.3057125,
        "loss_koleo": 0.040632617,
        "grad_norm_backbone": 4.2526117,
        "grad_norm_dino_head": 2.4383517,
        "grad_norm_ibot_head": 1.5595416,
        "student_move": 0.096330817,
        "teacher_move": 0.38128623,
    },
    {
        "loss_dino_local": 4.0055285,
        "loss_dino_global": 1.375311,
        "loss_ibot": 2.1375587,
        "loss_koleo": 0.039144147,
        "grad_norm_backbone": 3.5212718,
        "grad_norm_dino_head": 2.2083997,
        "grad_norm_ibot_head": 1.3064335,
        "student_move": 0.094507923,
        "teacher_move": 0.343489,
    },
]
SHARED_HEAD_CENTRED = [
    {
        "loss_dino_local": 2.5253184,
        "loss_dino_global": 0.90426016,
        "loss_ibot": 1.7295841,
        "loss_koleo": 0.040632617,
        "grad_norm_backbone": 5.6938266,
        "grad_norm_dino_head": 4.0486362,
        "student_move": 0.090977737,
        "teacher_move": 0.37097234,
    },
    {
        "loss_dino_local": 2.31214,
        "loss_dino_global": 0.86061412,
        "loss_ibot": 1.6477075,
        "loss_koleo": 0.045667019,
        "grad_norm_backbone": 4.2722098,
        "grad_norm_dino_head": 2.9943722,
        "student_move": 0.089018317,
        "teacher_move": 0.33420864,
    },
]
SEPARATE_HEADS_CENTRED = [
    {
        "loss_dino_local": 2.5253184,
        "loss_dino_global": 0.90426016,
        "loss_ibot": 1.6576165,
        "loss_koleo": 0.040632617,
        "grad_norm_backbone": 6.6338444,
        "grad_norm_dino_head": 3.2685501,
        "grad_norm_ibot_head": 2.5700178,
        "student_move": 0.10024359,
        "teacher_move": 0.38130739,
    },
    {
        "loss_dino_local": 2.3203881,
        "loss_dino_global": 0.86307293,
        "loss_ibot": 1.4537278,
        "loss_koleo": 0.046317112,
        "grad_norm_backbone": 4.8812693,
        "grad_norm_dino_head": 2.5059205,
        "grad_norm_ibot_head": 1.8167111,
        "student_move": 0.097027887,
        "teacher_move": 0.34354123,
    },
]
WITHOUT_IBOT_CENTRED = [
    {
        "loss_dino_local": 2.5253184,
        "loss_dino_global": 0.85310316,
        "grad_norm_backbone": 5.0523743,
        "grad_norm_dino_head": 3.2995314,
        "student_move": 0.089534588,
        "teacher_move": 0.37096304,
    },
    {
        "loss_dino_local": 2.2871706,
        "loss_dino_global": 0.80275804,
        "grad_norm_backbone": 3.4076731,
        "grad_norm_dino_head": 2.4258777,
        "student_move": 0.086922668,
        "teacher_move": 0.33417697,
    },
]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (step_config(**KOLEO), SEPARATE_HEADS_SINKHORN_KNOPP),
        (step_config(shares_head=True, centering="softmax", **KOLEO), SHARED_HEAD_CENTRED),
        (step_config(centering="softmax", **KOLEO), SEPARATE_HEADS_CENTRED),
        (
            step_config(ibot_weight=0.0, kde_weight=0.0, centering="softmax"),
            WITHOUT_IBOT_CENTRED,
        ),
    ],
    ids=["separate heads", "shared head, centred", "separate heads, centred", "without iBOT"],
)
def test_two_steps_are_those_of_the_reference(config, expected: list[dict[str, float]]):
    for ours, reference in zip(two_steps(config), expected, strict=True):
        assert ours == pytest.approx(reference, rel=1e-5)
