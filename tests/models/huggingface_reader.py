"""Load exported folders as a stranger would, and say how far the outputs are from the saved ones.

Run as `python huggingface_reader.py FOLDER...`; each folder holds `images_*.npy`, `tokens_*.npy`
and perhaps `masks_*.npy` beside the model. Prints one line of JSON. It must never import eosin.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel


def differences(folder: Path) -> dict[str, object]:
    model, info = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    model.eval()
    found: dict[str, float] = {}
    for images in sorted(folder.glob("images_*.npy")):
        name = images.stem.removeprefix("images_")
        masks = folder / f"masks_{name}.npy"
        kwargs = {"bool_masked_pos": torch.from_numpy(np.load(masks))} if masks.exists() else {}
        with torch.no_grad():
            theirs = model(torch.from_numpy(np.load(images)), **kwargs).last_hidden_state
        ours = torch.from_numpy(np.load(folder / f"tokens_{name}.npy"))
        assert theirs.shape == ours.shape
        found[name] = float((theirs - ours).abs().max())
    return {
        "class": type(model).__name__,
        "loading": sorted(name for names in info.values() for name in names),
        "differences": found,
        "processor": AutoImageProcessor.from_pretrained(folder, local_files_only=True).to_dict(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    answer = {Path(folder).name: differences(Path(folder)) for folder in sys.argv[1:]}
    assert "eosin" not in sys.modules
    sys.stdout.write(json.dumps(answer) + "\n")
