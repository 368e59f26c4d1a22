"""DINOv2's ten views built from albumentations; run with the Python of an environment that has it.

Prints the seconds of a patch. Arguments: a patch (.npy) and how many times.
"""

import json
import sys
import time

import albumentations as A  # noqa: N812 - as its users write it
import cv2
import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def view(size: int, scale: tuple[float, float], *, blur: float, solarize: float) -> A.Compose:
    return A.Compose(
        [
            A.RandomResizedCrop(size=(size, size), scale=scale, interpolation=cv2.INTER_CUBIC),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(
                brightness=(0.6, 1.4),
                contrast=(0.6, 1.4),
                saturation=(0.8, 1.2),
                hue=(-0.1, 0.1),
                p=0.8,
            ),
            A.ToGray(p=0.2),
            *([A.GaussianBlur(blur_limit=(9, 9), sigma_limit=(0.1, 2.0), p=blur)] if blur else []),
            *([A.Solarize(threshold_range=(0.5, 0.5), p=solarize)] if solarize else []),
            A.Normalize(MEAN, STD),
        ],
        seed=1,
    )


def main() -> None:
    cv2.setNumThreads(1)
    patch, num = np.load(sys.argv[1]), int(sys.argv[2])
    one = view(224, (0.32, 1.0), blur=0, solarize=0)
    two = view(224, (0.32, 1.0), blur=0.9, solarize=0.2)
    local = view(98, (0.05, 0.32), blur=0.5, solarize=0)

    def ten() -> list[np.ndarray]:
        kinds = [one, two, *[local] * 8]
        return [kind(image=patch)["image"] for kind in kinds]

    held: list[object] = [None] * 4
    ten()
    begin = time.perf_counter()
    for number in range(num):
        held[number % 4] = ten()
    print(json.dumps((time.perf_counter() - begin) / num))


if __name__ == "__main__":
    main()
