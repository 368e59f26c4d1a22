"""Load exported folders as a stranger would, and say how far the outputs are from the saved ones.

Run as `python huggingface_reader.py FOLDER...`; each folder holds `images_*.npy`, `tokens_*.npy`
and perhaps `masks_*.npy` beside the model. Where there are `photos.npy`, the first snippet of the
model card is run on them and its embedding saved, and the model saved again by transformers.
Prints one line of JSON. It must never import eosin.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModel


def run_card(folder: Path) -> None:
    """Run the card's snippet as it stands, but for the folder."""
    photos = np.load(folder / "photos.npy")
    snippet = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    scope = {"images": list(photos)}
    exec(snippet[1].replace("path/to/this/folder", str(folder)), scope)
    np.save(folder / "embedding.npy", scope["embedding"].numpy())
    np.save(folder / "pixels.npy", scope["pixels"].numpy())
    scope["model"].save_pretrained(folder / "saved_again")


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
    if (folder / "photos.npy").exists():
        run_card(folder)
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
