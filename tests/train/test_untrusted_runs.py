"""Rows 3 and 4 of the faults: nothing in a run's folder is run, and no setting in it hangs."""

import dataclasses
import inspect
import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata

import eosin
from eosin.backends.base import SlideBackend
from eosin.errors import EosinError, InputError
from eosin.filters.base import PatchFilter
from eosin.models.weights import read_weights
from eosin.plain import COMPONENTS, from_plain, register_component, to_plain
from eosin.sampling.base import PatchSampler
from eosin.tissue.base import TissueSource
from eosin.train.checkpoint import load_newest
from eosin.train.config import TrainConfig
from eosin.train.run_folder import RunFolder
from eosin.transforms.base import Transform
from train.test_checkpoint import save
from train.tiny import tiny_config
from train.worlds import ALONE, stepped


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.mark), "w")


def in_storage_meta(table: Metadata, payload: Payload) -> None:
    table.storage_meta = payload  # type: ignore[assignment]


def in_planner_data(table: Metadata, payload: Payload) -> None:
    table.planner_data["more"] = payload


def in_a_tensors_place(table: Metadata, payload: Payload) -> None:
    name = next(iter(table.state_dict_metadata))
    table.state_dict_metadata[name] = payload  # type: ignore[assignment]


@pytest.mark.parametrize("hide", [in_storage_meta, in_planner_data, in_a_tensors_place])
def test_a_table_of_contents_with_code_in_it_is_refused_unread(tmp_path: Path, hide: Callable):
    """Row 3: `.metadata` is a pickle, and whoever writes it writes the checksum beside it."""
    checkpoint = save(tmp_path, 1)
    file, mark = checkpoint / "state" / ".metadata", tmp_path / "was run"
    table = pickle.loads(file.read_bytes())
    hide(table, Payload(mark))
    file.write_bytes(pickle.dumps(table))
    with pytest.raises(EosinError, match="open, which is not run"):
        load_with_new_sums(tmp_path, checkpoint)
    assert not mark.exists()


def test_an_object_that_stands_in_for_a_tensor_is_refused_unread(tmp_path: Path):
    """Row 3: torch would unpickle what the table calls bytes, also where tensors are asked for."""
    checkpoint = save(tmp_path, 1)
    file, mark = checkpoint / "state" / ".metadata", tmp_path / "was run"
    table = pickle.loads(file.read_bytes())
    name = next(iter(table.state_dict_metadata))
    table.state_dict_metadata[name] = BytesStorageMetadata()
    place = next(p for key, p in table.storage_data.items() if key.fqn == name)
    content = io.BytesIO()
    torch.save(Payload(mark), content)
    shard = checkpoint / "state" / place.relative_path
    place.offset, place.length = shard.stat().st_size, content.tell()
    shard.write_bytes(shard.read_bytes() + content.getvalue())
    file.write_bytes(pickle.dumps(table))
    with pytest.raises(EosinError, match="BytesStorageMetadata, which is not run"):
        load_with_new_sums(tmp_path, checkpoint)
    assert not mark.exists()


def test_a_table_that_names_a_file_elsewhere_is_refused(tmp_path: Path):
    """Row 3, found beside it: a path that leads out of the checkpoint."""
    checkpoint = save(tmp_path, 1)
    file = checkpoint / "state" / ".metadata"
    table = pickle.loads(file.read_bytes())
    next(iter(table.storage_data.values())).relative_path = "../../../secret"
    file.write_bytes(pickle.dumps(table))
    with pytest.raises(EosinError, match=r"names the file '\.\./\.\./\.\./secret'"):
        load_with_new_sums(tmp_path, checkpoint)


def test_a_tensor_with_code_in_it_is_refused_unread(tmp_path: Path):
    """Row 3, found beside it: the tensors themselves, which torch keeps as pickles."""
    checkpoint = save(tmp_path, 1)
    mark = tmp_path / "was run"
    table = pickle.loads((checkpoint / "state" / ".metadata").read_bytes())
    place = next(iter(table.storage_data.values()))
    content = io.BytesIO()
    torch.save(Payload(mark), content)
    shard = checkpoint / "state" / place.relative_path
    place.offset, place.length = shard.stat().st_size, content.tell()
    shard.write_bytes(shard.read_bytes() + content.getvalue())
    (checkpoint / "state" / ".metadata").write_bytes(pickle.dumps(table))
    with pytest.raises(EosinError, match="none of the 1 checkpoints"):
        load_with_new_sums(tmp_path, checkpoint)
    assert not mark.exists()


def load_with_new_sums(folder: Path, checkpoint: Path) -> None:
    """Load a checkpoint of which an attacker has put the checksums right."""
    from eosin.train.checkpoint import _sum_of  # noqa: PLC0415

    complete = json.loads((checkpoint / ".complete").read_text())
    complete["files"] = {name: _sum_of(checkpoint / name) for name in complete["files"]}
    (checkpoint / ".complete").write_text(json.dumps(complete))
    model, optimizer = stepped(ALONE, seed=0)
    load_newest(folder, model=model, optimizer=optimizer, world=ALONE)


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".pt", ""])
def test_weights_with_code_in_them_are_refused_unread(tmp_path: Path, suffix: str):
    """Row 3, found beside it: files of weights, whatever they are called."""
    mark, file = tmp_path / "was run", tmp_path / f"weights{suffix}"
    torch.save({"teacher": Payload(mark)}, file)
    with pytest.raises(EosinError, match="cannot be read as weights alone"):
        read_weights(file)
    assert not mark.exists()
    with zipfile.ZipFile(file) as archive:  # it is what torch would have run
        assert any(name.endswith("data.pkl") for name in archive.namelist())


COMPONENT_BASES = (SlideBackend, TissueSource, PatchSampler, PatchFilter, Transform)
NEVER_STORED = {"GuardedBackend", "AnonymousBackend"}
"""They wrap what is stored, for one process or page."""


def dataclasses_of_eosin() -> Iterator[type]:
    for module in walk_packages(eosin.__path__, "eosin."):
        if not module.name.endswith("__main__"):
            for found in vars(import_module(module.name)).values():
                is_one = isinstance(found, type) and dataclasses.is_dataclass(found)
                if is_one and found.__module__ == module.name:
                    yield found


def test_every_component_stands_in_the_table_under_one_name():
    components = {
        found.__name__: found.__module__
        for found in dataclasses_of_eosin()
        if issubclass(found, COMPONENT_BASES)
        and found.__name__ not in NEVER_STORED
        and not inspect.isabstract(found)
    }
    assert components.items() <= COMPONENTS.items()
    for name, module in COMPONENTS.items():
        assert dataclasses.is_dataclass(getattr(import_module(module), name))


@pytest.mark.parametrize("spelling", ["eosin.somewhere.before.HSVPatchFilter", "HSVPatchFilter"])
def test_a_component_is_found_by_its_name_wherever_it_was_when_the_run_was_stored(spelling: str):
    assert type(from_plain({"type": spelling})).__name__ == "HSVPatchFilter"


@pytest.mark.parametrize(
    "named",
    [
        "torch.distributed.elastic.multiprocessing.errors.ProcessFailure",
        "subprocess.Popen",
        "eosin.backends.crash.CrashLog",
        "eosin.train.run_folder.RunFolder",
        "eosin.catalog.anonymous.AnonymousBackend",
        "os.HSVPatchFilter",
        "",
        None,
        7,
        ["eosin.filters.hsv.HSVPatchFilter"],
        {"type": "eosin.filters.hsv.HSVPatchFilter"},
    ],
)
def test_nothing_outside_the_table_is_built(named: object):
    """Row 4: any dataclass that happened to be imported was built, an instance was called."""
    with pytest.raises(InputError, match=r"no component|where the name of a class belongs"):
        from_plain({"type": named, "local_rank": 0})


@dataclasses.dataclass(frozen=True)
class Mine:
    """A component of somebody's own."""

    size: int = 3


def test_a_class_of_ones_own_is_read_once_it_is_registered():
    stored = {"type": f"{Mine.__module__}.Mine", "size": 4}
    program = (
        "import json, sys\n"
        "from eosin.plain import from_plain, register_component\n"
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\nclass Mine:\n    size: int = 3\n"
        "stored = {'type': '__main__.Mine', 'size': 4}\n"
        "try:\n    from_plain(stored)\nexcept Exception as error:\n    print(error)\n"
        "register_component(Mine)\nprint(from_plain(stored))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    refused, read = done.stdout.splitlines()
    assert "call eosin.plain.register_component with it" in refused
    assert read == "Mine(size=4)"
    register_component(Mine)
    assert from_plain(stored) == Mine(size=4)
    assert from_plain(to_plain(Mine(size=5))) == Mine(size=5)


def places(settings: object, at: tuple = ()) -> Iterator[tuple]:
    """Yield where each value of stored settings is."""
    inside = (
        settings.items()
        if isinstance(settings, dict)
        else enumerate(settings)
        if isinstance(settings, list)
        else ()
    )
    for key, value in inside:
        yield (*at, key)
        yield from places(value, (*at, key))


STORED = to_plain(tiny_config())
WRONG = (None, "x", -1, 0, 1e9, 10**9, 10**18, 10**400, -(10**400), float("nan"), [], {}, True, 1.5)


@pytest.mark.parametrize("at", list(places(STORED)), ids=lambda at: ".".join(map(str, at)))
def test_a_wrong_value_anywhere_is_one_line_or_a_configuration(at: tuple):
    """Row 4: `depth: 1e9` hung; of every key ten kinds of wrong values."""
    for wrong in WRONG:
        changed = json.loads(json.dumps(STORED))
        inside = changed
        for key in at[:-1]:
            inside = inside[key]
        inside[at[-1]] = wrong
        try:
            config = from_plain(changed)
        except EosinError as error:
            assert "\n" not in str(error)
            continue
        # What is taken is as small as it says: such as a run of one step more.
        if isinstance(config, TrainConfig):
            assert config.model.depth <= 1000
            assert config.model.embed_dim <= 2**15
            assert config.data.global_px <= 2**14
            assert config.dino_head.num_prototypes <= 2**24


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        f'{{"steps": {"9" * 5000}}}',
        "\x00",
        "null",
        "[]",
        '"eosin.train.config.TrainConfig"',
        '{"type": "eosin.train.config.TrainConfig"}',
        b"\xff\xfe{".decode("latin-1"),
    ],
    ids=lambda text: text[:12],
)
def test_settings_that_are_none_are_one_line(tmp_path: Path, text: str):
    """Row 4, found beside it: text that JSON itself does not survive."""
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        _ = RunFolder(tmp_path).train_config
    assert "\n" not in str(caught.value)
