import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from eosin.watch.bank import TileBank
from eosin.watch.bank_watch import BankWatch
from eosin.watch.schedule import Looks
from ranks import on_ranks

GREY = np.full((16, 14, 14, 3), 128, dtype=np.uint8)
NAMES = np.array(["a"] * 16)
PLACES = np.arange(16, dtype=np.int64)
BANK = TileBank(
    patches=GREY,
    first_views=GREY,
    second_views=GREY,
    slides=NAMES,
    patients=NAMES,
    sites=NAMES,
    x=PLACES,
    y=PLACES,
    mpp=np.full(16, 0.5),
)


def test_a_rank_that_comes_when_the_bank_is_drawn_waits_for_what_the_others_wait_for(
    tmp_path: Path,
):
    path = tmp_path / "bank.npz"

    def on_rank(rank: int) -> int:
        while rank == 1 and not path.exists():
            time.sleep(0.01)
        looks = Looks(every_steps=1, num_steps=1)
        BankWatch(path, lambda: BANK, looks, size_px=14).run_started(0, 1)
        # What a rank did not wait for, it would be given here.
        tensor = torch.tensor([7.0])
        distributed.all_reduce(tensor)
        return int(tensor)

    assert on_ranks(2, on_rank) == [14, 14]
