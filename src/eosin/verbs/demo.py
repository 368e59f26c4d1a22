"""The command that makes the whole journey."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(kw_only=True)
class DemoVerb:
    """Make the whole journey on slides drawn here, or on yours: minutes on a CPU."""

    out_dir: Path = Path("runs/demo")
    """Folder for everything that is made."""
    slides: Path | None = None
    """A folder of slides to train on instead of drawn ones."""
    overwrite: bool = False
    """Begin anew when the folder holds an earlier demo; without it, go on with that."""
    steps: int | None = None
    """Training steps, fewer or more than the demo's own."""


def demo(args: DemoVerb) -> None:
    from eosin.demo import run_demo

    print(
        run_demo(args.out_dir, slides=args.slides, overwrite=args.overwrite, num_steps=args.steps)
    )
