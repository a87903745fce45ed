"""A checkpoint's weights are found whatever wraps them, fit the model or are refused, and never run code."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from conftest import Outcome, Run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from landscape_cli.compute.checkpoint import Loaded, load_weights
from landscape_cli.config import CheckpointConfig
from landscape_cli.errors import CheckpointError
from landscape_cli.yaml_source import parse_yaml

State = Mapping[str, Tensor]
WHERE = "scan.yaml:2: checkpoint"
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "ema_model.", "_forward_module.", "teacher.encoder.")
TARGETS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "plain": lambda model: model,
    "Sequential": nn.Sequential,
    "DataParallel": nn.DataParallel,
    "compiled": torch.compile,
    "DataParallel of compiled": lambda model: nn.DataParallel(torch.compile(model)),
}
KEYS = ("state_dict", "model_state_dict", "model", "net", "ema", "module", "weights")


class Net(nn.Module):
    """Weights, a bias, BatchNorm's parameters, buffers and counter: nine tensors."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
        self.head = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Tied(nn.Module):
    """A language model in small: the embedding is also the last layer, unless untied."""

    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.middle = nn.Linear(3, 3)
        self.head = nn.Linear(3, 5, bias=False)
        if tied:
            self.head.weight = self.embedding.weight


class Masked(nn.Linear):
    """Holds an attention mask with -inf."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))


class WithExtra(nn.Linear):
    """Keeps something else than tensors in its state dict."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.extra: object = {"scale": 1}

    def get_extra_state(self) -> object:
        return self.extra

    def set_extra_state(self, state: object) -> None:
        self.extra = state


class Payload:
    """Makes a folder when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.marker,)


class Explosive:
    """Raises when unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return int, ("x",)


def network(seed: int, width: int = 4) -> Net:
    """A network with values of its own in every tensor."""
    model = Net(width)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            values = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed)) * 9 + 1
            tensor.copy_(values)
            seed += 1000
    return model


def weights(seed: int = 1) -> dict[str, Tensor]:
    return dict(network(seed).state_dict())


def below(prefix: str, state: State) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def same(found: State, expected: State) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def load(
    folder: Path, content: object, model: nn.Module, name: str = "w.pt", *, unsafe: bool = False, **config: object
) -> Loaded:
    """Write a checkpoint (bytes as they are) and load it."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return load_weights(model, CheckpointConfig(path=path, **config), where=WHERE, unsafe=unsafe)


def refused(folder: Path, content: object, model: nn.Module, name: str = "w.pt", **options: object) -> CheckpointError:
    """Load a checkpoint that must be refused."""
    with pytest.raises(CheckpointError) as caught:
        load(folder, content, model, name, **options)
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{folder / name}: ")
    return caught.value


def attempt(folder: Path, content: object, model: nn.Module, name: str = "w.pt", **options: object) -> str:
    """Load a checkpoint that may be loaded or refused: what is said."""
    try:
        return "\n".join(load(folder, content, model, name, **options).notes)
    except CheckpointError as error:
        return f"{error}\n{error.hint}"


def suggested(error: CheckpointError) -> dict[str, object]:
    """The settings that a hint asks for."""
    found = re.findall(r"--set checkpoint\.(\w+)=(true|false|\S+)", error.hint or "")
    return {key: parse_yaml(value, name="t")[0] for key, value in found}


def rows(message: str) -> set[tuple[str, str]]:
    """(name, problem) of every row of the table."""
    return set(re.findall(r"^  (\S+)\s+(missing|unexpected|wrong shape)  ", message, re.MULTILINE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


# ---------------------------------------------------------------- finding the weights


@settings(max_examples=12, deadline=None)
@given(
    stack=st.lists(st.sampled_from(PREFIXES), max_size=4),
    keys=st.lists(st.sampled_from(KEYS), max_size=3),
    compiled_inside=st.booleans(),
    beside=st.booleans(),
    target=st.sampled_from(sorted(TARGETS)),
)
@example(stack=["module."] * 2, keys=[], compiled_inside=False, beside=False, target="DataParallel")
def test_weights_are_found_below_any_wrappers(
    folder: Path, stack: list[str], keys: list[str], compiled_inside: bool, beside: bool, target: str
) -> None:
    prefix = "".join(stack)
    inside = "body._orig_mod." if compiled_inside else "body."
    content: object = below(prefix, {name.replace("body.", inside): value for name, value in weights().items()})
    for key in reversed(keys):
        content = {
            key: content,
            **({"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(())}}}} if beside else {}),
        }
    model = network(2)
    loaded = load(folder, content, TARGETS[target](model))
    assert same(model.state_dict(), weights())
    assert (loaded.num_matched, loaded.num_tensors) == (9, 9)
    said = " ".join(loaded.notes)
    assert (not keys) or f"weights found under {'.'.join(keys)!r}" in said
    if target == "plain":
        real = prefix.replace("_orig_mod.", "")
        assert (not real) or f"prefix {real!r} stripped" in said
    assert ("'_orig_mod.' of torch.compile stripped" in said) is (compiled_inside or "_orig_mod." in stack)


def test_prefix_that_only_the_model_has_is_noted(tmp_path: Path) -> None:
    loaded = load(tmp_path, below("net.", weights()), nn.DataParallel(network(2)))
    assert loaded.notes == ("prefix 'net.' stripped", "prefix 'module.' added")


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(PREFIXES), max_size=4))
def test_weights_in_safetensors_are_found_below_any_prefix(folder: Path, stack: list[str]) -> None:
    model = network(2)
    load(folder, below("".join(stack), weights()), model, "w.safetensors")
    assert same(model.state_dict(), weights())


def compiled_inside(model: Net) -> nn.Module:
    model.body = torch.compile(model.body)
    return model


@pytest.mark.parametrize(
    "wrap",
    [
        torch.compile,
        nn.DataParallel,
        AveragedModel,
        compiled_inside,
        lambda model: nn.DataParallel(torch.compile(model)),
        lambda model: torch.compile(nn.DataParallel(model)),
        lambda model: AveragedModel(nn.DataParallel(torch.compile(model))),
        lambda model: nn.DataParallel(compiled_inside(model)),
    ],
)
def test_weights_of_real_wrappers_are_found(tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = network(2)
    load(tmp_path, wrap(network(1)).state_dict(), model)
    assert same(model.state_dict(), weights())


def test_averaged_weights_are_the_average(tmp_path: Path) -> None:
    averaged = AveragedModel(network(1))
    averaged.update_parameters(network(1))
    averaged.update_parameters(network(3))
    model = network(2)
    loaded = load(tmp_path, averaged.state_dict(), model)
    mean = (weights(1)["head.weight"] + weights(3)["head.weight"]) / 2
    torch.testing.assert_close(model.head.weight.detach(), mean)
    assert "ignored: n_averaged" in loaded.notes


def test_weights_in_a_lightning_checkpoint_are_found(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD(network(1).parameters(), 0.1, momentum=0.9)
    content = {
        "epoch": 3, "global_step": 7, "pytorch-lightning_version": "2.4.0", "state_dict": below("model.", weights()),
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [{"last_epoch": 3}], "hparams": {"lr": 0.1},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9)}}, "loops": {"fit": {"state_dict": {}}},
    }  # fmt: skip
    model = network(2)
    loaded = load(tmp_path, content, model)
    assert same(model.state_dict(), weights())
    assert loaded.notes == ("weights found under 'state_dict'", "prefix 'model.' stripped")


def test_checkpoint_of_any_device_is_read_on_the_cpu(tmp_path: Path, device: str) -> None:
    model = network(2)
    load(tmp_path, {"model": network(1).to(device).state_dict()}, model)
    assert same(model.state_dict(), weights())


@pytest.mark.parametrize("suffix", ["pt", "pth", "ckpt", "bin", "safetensors"])
def test_sha256_is_that_of_the_file(tmp_path: Path, suffix: str) -> None:
    loaded = load(tmp_path, weights(), network(2), f"w.{suffix}")
    assert loaded.sha256 == hashlib.sha256((tmp_path / f"w.{suffix}").read_bytes()).hexdigest()
    assert loaded.notes == ()


def test_checkpoint_in_the_old_format_of_torch_is_read(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    model = network(2)
    load(tmp_path, (tmp_path / "w.pt").read_bytes(), model)
    assert same(model.state_dict(), weights())


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(2, 2),
        lambda: nn.LSTM(2, 3),
        lambda: nn.MultiheadAttention(4, 2),
        lambda: nn.BatchNorm1d(3, affine=False),
        lambda: nn.DataParallel(Net()),
        lambda: nn.Sequential(*[nn.Linear(1, 1) for _ in range(11)]),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
        lambda: nn.Sequential(nn.ModuleDict({"module": nn.Linear(2, 2), "model": nn.Linear(2, 2)})),
        lambda: nn.ParameterList([torch.ones(2), torch.ones(3)]),
        Tied,
        Masked,
        WithExtra,
    ],
)
def test_own_checkpoint_always_fits(tmp_path: Path, make: Callable[[], nn.Module]) -> None:
    source, model = make(), make()
    load(tmp_path, source.state_dict(), model)
    for found, expected in zip(model.state_dict().values(), source.state_dict().values(), strict=True):
        assert torch.equal(found, expected) if isinstance(expected, Tensor) else found == expected


# ---------------------------------------------------------------- several candidates


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"model": weights(1), "ema": weights(3)}, "'model', 'ema'"),
        ({"a": {"model": weights(1)}, "b": {"model": weights(3)}}, "'a.model', 'b.model'"),
        ({**weights(1), "ema": weights(3)}, "the file itself, 'ema'"),
        ({"state_dict": {**below("model.", weights(1)), **below("ema.", weights(3))}}, "'ema.', 'model.'"),
    ],
)
def test_ambiguous_weights_are_refused_with_a_choice_that_works(tmp_path: Path, content: object, names: str) -> None:
    error = refused(tmp_path, content, network(2))
    assert names in str(error)
    choice = suggested(error)
    assert len(choice) == 1
    model = network(2)
    load(tmp_path, content, model, **choice)
    assert same(model.state_dict(), weights(1)) or same(model.state_dict(), weights(3))


@pytest.mark.parametrize(
    ("content", "config", "seed"),
    [
        ({"model": weights(1), "ema": weights(3)}, {"key": "ema"}, 3),
        ({"model": weights(1), "ema": {"shadow": weights(3)}}, {"key": "ema.shadow"}, 3),
        ({**weights(1), "ema": weights(3)}, {"key": ""}, 1),
        ({**below("model.", weights(1)), **below("ema.", weights(3))}, {"prefix": "ema."}, 3),
        ({"a": below("m.", weights(1)) | below("e.", weights(3)), "b": weights(5)}, {"key": "a", "prefix": "m."}, 1),
        ({"model": weights(1), "ema": {"head.bias": torch.ones(2)}}, {}, 1),
        (below("module.", weights(1)), {"prefix": "module."}, 1),
    ],
)  # fmt: skip
def test_chosen_weights_are_loaded(tmp_path: Path, content: object, config: dict[str, object], seed: int) -> None:
    model = network(2)
    load(tmp_path, content, model, **config)
    assert same(model.state_dict(), weights(seed))


def test_keys_outside_the_chosen_prefix_are_ignored_and_named(tmp_path: Path) -> None:
    content = {**below("model.", weights()), **{f"loss.{i}": torch.ones(1) for i in range(5)}}
    loaded = load(tmp_path, content, network(2), prefix="model.")
    assert loaded.notes == ("prefix 'model.' stripped", "ignored: loss.0, loss.1, loss.2 …")


def test_keys_beside_a_prefix_are_refused_with_a_choice_that_works(tmp_path: Path) -> None:
    content = {**below("model.", weights()), "criterion.weight": torch.ones(2)}
    error = refused(tmp_path, content, network(2))
    assert ("criterion.weight", "unexpected") in rows(str(error))
    assert suggested(error).get("prefix") == "model."


@pytest.mark.parametrize("prefix", ["modle.", "module"])
def test_prefix_that_does_not_lead_to_the_weights_is_named(tmp_path: Path, prefix: str) -> None:
    said = attempt(tmp_path, below("module.", weights()), network(2), prefix=prefix)
    assert repr(prefix) in said
    assert "another model" not in said


def test_key_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    error = refused(tmp_path, {**weights(), "ema": {"a": weights()}}, network(2), key="mdel")
    assert "no state dict under 'mdel', asked for by scan.yaml:2: checkpoint.key" in str(error)
    assert "found the file itself, 'ema.a'" in str(error)


def part(state: State) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if name != "head.bias"}


@pytest.mark.parametrize(
    "content",
    [
        {"model": part(weights(1)), "ema": part(weights(3))},
        {**below("model.", part(weights(1))), **below("ema.", part(weights(3)))},
    ],
)
def test_ambiguous_partial_weights_are_refused(tmp_path: Path, content: object) -> None:
    error = refused(tmp_path, content, network(2), strict=False)
    assert "model" in str(error)
    assert "ema" in str(error)


# ---------------------------------------------------------------- matching


@settings(max_examples=30, deadline=None)
@given(
    dropped=st.sets(st.sampled_from(sorted(weights()))),
    reshaped=st.sets(st.sampled_from(sorted(weights()))),
    added=st.sets(st.sampled_from(["aux.scale", "aux.shift", "extra"])),
)
def test_table_lists_exactly_what_does_not_fit(
    folder: Path, dropped: set[str], reshaped: set[str], added: set[str]
) -> None:
    counter = "body.1.num_batches_tracked"
    content = {name: tensor for name, tensor in weights().items() if name not in dropped}
    content |= {name: torch.ones(7) for name in (reshaped - dropped) | added}
    missing, wrong = dropped - {counter}, reshaped - dropped
    fitting = set(weights()) - dropped - reshaped
    model, before = network(2), weights(2)
    if not (missing or wrong or added):
        load(folder, content, model)
        assert same(part(model.state_dict()), part({**before, **content}))
        return
    if content:
        message = str(refused(folder, content, model))
        expected = {(name, "missing") for name in missing} | {(name, "wrong shape") for name in wrong}
        assert rows(message) == expected | {(name, "unexpected") for name in added}
        counts = (
            f"{len(fitting)} matched, {len(missing)} missing, {len(added)} unexpected, {len(wrong)} of another shape"
        )
        assert counts in message
    assert same(model.state_dict(), before)
    if fitting:
        loaded = load(folder, content, model, strict=False)
        assert same(model.state_dict(), {**before, **{name: weights()[name] for name in fitting}})
        assert loaded.num_matched == len(fitting)
        assert "partial match allowed by strict: false" in loaded.notes[-1]
    else:
        refused(folder, content, model, strict=False)


def test_partial_match_is_allowed_as_the_hint_says(tmp_path: Path) -> None:
    error = refused(tmp_path, part(weights()), network(2))
    assert "head.bias" in str(error)
    assert suggested(error) == {"strict": False}
    assert load(tmp_path, part(weights()), network(2), **suggested(error)).num_matched == 8


def test_mis_shaped_tensors_are_shown_with_both_shapes(tmp_path: Path) -> None:
    error = refused(tmp_path, network(1, width=5).state_dict(), network(2))
    assert re.search(r"body\.0\.weight +wrong shape +file \(5, 3\), model \(4, 3\)", str(error))
    assert "`model:`" in (error.hint or "")


def test_long_tables_are_cut(tmp_path: Path) -> None:
    error = refused(tmp_path, {**weights(), **{f"aux.{i}": torch.ones(1) for i in range(50)}}, network(2))
    assert len(str(error).splitlines()) < 30
    assert "and 30 more" in str(error)


@pytest.mark.parametrize("strict", [True, False])
def test_checkpoint_of_another_model_is_refused(tmp_path: Path, strict: bool) -> None:
    error = refused(tmp_path, nn.Sequential(nn.Conv2d(1, 1, 1)).state_dict(), network(2), strict=strict)
    assert "0 matched, 8 missing, 2 unexpected" in str(error)
    assert "checkpoint of another model" in (error.hint or "")


def test_missing_batch_counters_are_noted_and_allowed(tmp_path: Path) -> None:
    old = {name: tensor for name, tensor in weights().items() if "num_batches_tracked" not in name}
    loaded = load(tmp_path, below("module.", old), network(2))
    assert (loaded.num_matched, loaded.num_tensors) == (8, 9)
    assert "1 num_batches_tracked not in the file; not needed for evaluation" in loaded.notes


def test_tied_weights_saved_once_serve_both_names(tmp_path: Path) -> None:
    source, model = Tied(), Tied()
    save_model(source, str(tmp_path / "w.safetensors"))
    content = (tmp_path / "w.safetensors").read_bytes()
    assert load(tmp_path, content, model, "w.safetensors").num_matched == 4
    assert same(model.state_dict(), source.state_dict())
    assert model.head.weight is model.embedding.weight


@pytest.mark.parametrize("absent", ["head.weight", "embedding.weight"])
def test_tied_weights_are_found_under_either_name(tmp_path: Path, absent: str) -> None:
    source, model = Tied(), Tied()
    state = {name: tensor for name, tensor in source.state_dict().items() if name != absent}
    load(tmp_path, below("module.", state), model)
    assert same(model.state_dict(), source.state_dict())


def test_untied_model_needs_both_weights(tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in Tied().state_dict().items() if name != "head.weight"}
    assert rows(str(refused(tmp_path, state, Tied(tied=False)))) == {("head.weight", "missing")}


def test_different_weights_for_tied_names_are_refused(tmp_path: Path) -> None:
    message = str(refused(tmp_path, Tied(tied=False).state_dict(), Tied()))
    assert "embedding.weight" in message
    assert "head.weight" in message


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_another_precision_are_cast(tmp_path: Path, dtype: torch.dtype) -> None:
    content = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in weights().items()}
    model = network(2)
    loaded = load(tmp_path, content, model)
    assert same(
        model.state_dict(), {name: tensor.to(model.state_dict()[name].dtype) for name, tensor in content.items()}
    )
    assert loaded.notes == (f"cast from {dtype}",)


def test_double_precision_is_kept_by_a_double_model(tmp_path: Path) -> None:
    source = network(1).double()
    with torch.no_grad():
        source.head.weight += 1e-12
    model = network(2).double()
    loaded = load(tmp_path, source.state_dict(), model)
    assert same(model.state_dict(), source.state_dict())
    assert loaded.notes == ()


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_weights_of_another_kind_of_number_do_not_pass_in_silence(tmp_path: Path, dtype: torch.dtype) -> None:
    content = {name: tensor.to(dtype) for name, tensor in weights().items()}
    assert str(dtype) in attempt(tmp_path, content, network(2))


@pytest.mark.parametrize("name", ["head.bias", "body.1.running_var"])
@pytest.mark.parametrize("seed", [1, 3])
def test_nan_in_any_tensor_is_refused_by_name(tmp_path: Path, name: str, seed: int) -> None:
    content = weights(seed)
    content[name][0] = torch.nan
    error = refused(tmp_path, content, network(2))
    assert f"NaN or infinite values in {name}" in str(error)
    assert "diverged" in (error.hint or "")


@pytest.mark.parametrize("value", [torch.inf, -torch.inf])
def test_infinite_parameters_are_refused(tmp_path: Path, value: float) -> None:
    content = {name: torch.full_like(tensor, value) if tensor.is_floating_point() else tensor
               for name, tensor in weights().items()}  # fmt: skip
    assert "body.0.weight, body.0.bias, body.1.weight, body.1.bias, head.weight and 1 more" in str(
        refused(tmp_path, content, network(2))
    )


def test_mask_of_minus_infinity_is_allowed(tmp_path: Path) -> None:
    model = Masked()
    load(tmp_path, Masked().state_dict(), model)
    assert model.mask[0, 1] == -torch.inf


# ---------------------------------------------------------------- files that are no checkpoints


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    assert "the file is empty; expected a torch or safetensors checkpoint" in str(refused(tmp_path, b"", Net(), name))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["w.pt", "w.safetensors"]), st.floats(0, 1, exclude_max=True))
def test_truncated_file_is_refused(folder: Path, name: str, fraction: float) -> None:
    load(folder, weights(), network(2), name)
    whole = (folder / name).read_bytes()
    refused(folder, whole[: int(fraction * len(whole))], network(2), name)


JUNK = {
    "text": b"hello world\n",
    "python": b"import os\n",
    "html": b"<!DOCTYPE html>\n<title>404 Not Found</title>\n",
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3710\n",
    "noise": random.Random(0).randbytes(1000),
    "one byte": b"P",
    "zip": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("kind", JUNK)
def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    error = refused(tmp_path, JUNK[kind], Net(), name)
    assert "not" in str(error)
    assert "KeyError" not in str(error)


@pytest.mark.parametrize("kind", JUNK)
def test_unsafe_load_is_not_offered_for_what_it_cannot_load(tmp_path: Path, kind: str) -> None:
    assert "--unsafe-load" not in (refused(tmp_path, JUNK[kind], Net()).hint or "")
    refused(tmp_path, JUNK[kind], Net(), unsafe=True)


def test_safetensors_under_another_name_are_read_or_named(tmp_path: Path) -> None:
    load(tmp_path, weights(), network(2), "w.safetensors")
    said = attempt(tmp_path, (tmp_path / "w.safetensors").read_bytes(), network(2), "w.bin")
    assert said == "" or "safetensors" in said
    assert "--unsafe-load" not in said


def test_torch_file_under_the_name_of_safetensors_is_read_or_named(tmp_path: Path) -> None:
    load(tmp_path, weights(), network(2))
    said = attempt(tmp_path, (tmp_path / "w.pt").read_bytes(), network(2), "w.safetensors")
    assert said == "" or "safetensors" in said


@pytest.mark.parametrize(
    ("path", "words"),
    [("absent.pt", "no such file"), ("absent/w.pt", "no such file"), (".", "is a folder"), ("x" * 300, "x")],
)
def test_path_that_is_no_file_is_refused(tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_weights(Net(), CheckpointConfig(path=tmp_path / path), where=WHERE)
    assert words in str(caught.value)
    assert WHERE in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "relative to the working directory" in (caught.value.hint or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission_is_refused(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "w.pt")
    (tmp_path / "w.pt").chmod(0)
    with pytest.raises(CheckpointError, match="cannot be read: Permission denied"):
        load_weights(Net(), CheckpointConfig(path=tmp_path / "w.pt"))


@pytest.mark.parametrize("content", [{}, {"epoch": 3, "log": {"loss": 0.1}}, [], None, 3, {3: "x"}])
def test_file_without_tensors_is_refused(tmp_path: Path, content: object) -> None:
    assert "no tensors in it; expected a state dict" in str(refused(tmp_path, content, Net()))


@pytest.mark.parametrize(
    "content", [torch.ones(3), [weights()], {"a": {"b": {"c": {"d": weights()}}}}, {"runs": (weights(), 1)}]
)
def test_file_with_tensors_is_not_said_to_have_none(tmp_path: Path, content: object) -> None:
    assert "no tensors" not in attempt(tmp_path, content, network(2))


@pytest.mark.parametrize("model", [nn.Identity(), nn.LazyLinear(2)])
def test_odd_models_end_in_no_traceback(tmp_path: Path, model: nn.Module) -> None:
    attempt(tmp_path, nn.Linear(3, 2).state_dict(), model)


# ---------------------------------------------------------------- pickles that run code


@pytest.mark.parametrize("kind", ["zip", "old format", *range(pickle.HIGHEST_PROTOCOL + 1)])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_pickle_that_runs_code_is_refused_without_running(tmp_path: Path, kind: object, name: str) -> None:
    path, marker = tmp_path / "evil", tmp_path / "marker"
    content = {"state_dict": weights(), "extra": [Payload(marker)]}
    if isinstance(kind, int):
        path.write_bytes(pickle.dumps(content, kind))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    refused(tmp_path, path.read_bytes(), network(2), name)
    assert not marker.exists()


def test_pickle_that_runs_code_is_refused_with_what_it_would_run(tmp_path: Path) -> None:
    error = refused(tmp_path, {"state_dict": weights(), "extra": Payload(tmp_path / "marker")}, network(2))
    assert "it holds a pickled posix.mkdir, and unpickling that can run code" in str(error)
    assert "torch.save(model.state_dict(), path)" in (error.hint or "")
    assert "--unsafe-load" in (error.hint or "")
    assert "runs whatever code it contains" in (error.hint or "")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_any_protocol_is_refused_without_warnings_of_torch(tmp_path: Path, protocol: int) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refused(tmp_path, pickle.dumps(weights(), protocol), network(2))
    assert not caught


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: {"model": model, "epoch": 3}])
def test_pickled_module_needs_unsafe_load(tmp_path: Path, wrap: Callable[[nn.Module], object]) -> None:
    model = network(2)
    assert "test_checkpoint.Net" in str(refused(tmp_path, wrap(network(1)), model))
    load(tmp_path, wrap(network(1)), model, unsafe=True)
    assert same(model.state_dict(), weights())


def test_pickle_that_fails_on_loading_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, {"state_dict": weights(), "extra": Explosive()}, network(2), unsafe=True)
    assert "not a readable checkpoint: ValueError" in str(error)


CONFIG = """\
model: {_target_: torch.nn.Linear, in_features: 2, out_features: 1}
checkpoint: {path: evil.pt}
loss: mse
data: {train: {dataset: toy_data.points}}
axes: {x: {num: 3}}
runtime: {device: cpu}
"""
DATA = """\
import torch

def points():
    return torch.utils.data.TensorDataset(torch.eye(2), torch.ones(2, 1))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A working directory whose checkpoint makes the folder `marker` when unpickled."""
    (tmp_path / "scan.yaml").write_text(CONFIG)
    (tmp_path / "toy_data.py").write_text(DATA)
    content = {"state_dict": nn.Linear(2, 1).state_dict(), "extra": Payload(tmp_path / "marker")}
    torch.save(content, tmp_path / "evil.pt")
    return tmp_path


def test_scan_refuses_a_malicious_pickle_and_exits_3(
    project: Path, landscape: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    ended = landscape("scan", "scan.yaml", "-o", "s.h5")
    assert ended.exit_code == 3, ended.stderr
    assert "evil.pt: not loaded: it holds a pickled posix.mkdir" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    assert not (project / "marker").exists()
    assert not (project / "s.h5").exists()


@pytest.mark.slow
def test_scan_runs_a_pickle_when_told_to(project: Path, landscape_process: Run) -> None:
    ended = landscape_process("scan", "scan.yaml", "-o", "s.h5", "--unsafe-load", cwd=project)
    assert ended.returncode == 0, ended.stderr
    assert (project / "marker").is_dir()
    assert (project / "s.h5").is_file()
