"""Networks of others: every kind of file gives the score of the network in it, and what does not fit is one line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from oracles.made_given import DENSENET, SIZE, Fussy, Several, Tiny, bundle, exported, onnx_file, torchscript
from safetensors.torch import save_file
from scipy.special import expit, softmax
from torch import nn

from medtea.core import bay
from medtea.core.errors import ConfigError, DataError
from medtea.core.settings import parse
from medtea.training import given
from medtea.training.given.model import Settings
from medtea.training.score_given import digest_of_given, prepared, scores_of_given

CPU = torch.device("cpu")
RADIOGRAPHS = np.random.default_rng(0).random((7, SIZE, SIZE)).astype(np.float16)
ROWS = np.array([6, 0, 1, 2, 3])


def settings(path: Path, **content: Any) -> Settings:
    return parse(Settings, {"path": str(path), "trust_program": True} | content, "evaluate.models.0")


def scored(path: Path, **content: Any) -> np.ndarray[Any, Any]:
    return scores_of_given(settings(path, **content), RADIOGRAPHS, ROWS, device=CPU)


@torch.no_grad()
def expected(network: nn.Module, *, channels: int = 1) -> np.ndarray[Any, Any]:
    images = torch.from_numpy(RADIOGRAPHS[ROWS].astype(np.float32))[:, None].expand(-1, channels, -1, -1)
    return network.eval()(images).numpy()


def test_every_kind_has_the_three_functions_of_the_contract() -> None:
    for name in bay.names(given):
        module = bay.load(given, name, "kind")
        assert all(callable(getattr(module, one)) for one in ("reads", "opened", "digest")), name
    assert bay.names(given) == ["exported_program", "medtea_run", "monai_bundle", "onnx_file", "torchscript"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "exported"])
def test_a_file_gives_the_scores_of_the_network_in_it(tmp_path: Path, kind: str, channels: int) -> None:
    network = Tiny(channels=channels)
    path = tmp_path / {"onnx": "a.onnx", "torchscript": "a.pt", "exported": "a.pt2"}[kind]
    {
        "onnx": lambda: onnx_file(path, network),
        "torchscript": lambda: torchscript(path, network, channels),
        "exported": lambda: exported(path, network, channels),
    }[kind]()
    np.testing.assert_allclose(
        scored(path, channels=channels), expit(expected(network, channels=channels)[:, 0]), rtol=1e-5
    )


@pytest.mark.parametrize("safe", [True, False])
def test_a_bundle_gives_the_scores_of_its_network(tmp_path: Path, safe: bool) -> None:
    network = DenseNet(**DENSENET | {"in_channels": 1})
    path = bundle(tmp_path / "bundle", network, safe=safe)
    np.testing.assert_allclose(scored(path, trust_program=False), expit(expected(network)[:, 0]), rtol=1e-5)


def test_a_batch_that_was_fixed_is_filled_up(tmp_path: Path) -> None:
    network = Tiny()
    for path in (
        exported(tmp_path / "two.pt2", network, batch=2),
        exported(tmp_path / "one.pt2", network, batch=1),
        onnx_file(tmp_path / "two.onnx", network, batch=2, size=SIZE),
    ):
        np.testing.assert_allclose(scored(path), expit(expected(network)[:, 0]), rtol=1e-5)


def test_one_of_several_classes_by_softmax_and_one_of_several_findings_by_sigmoid(tmp_path: Path) -> None:
    network = Tiny(logits=3)
    path = onnx_file(tmp_path / "a.onnx", network)
    logits = expected(network)
    np.testing.assert_allclose(scored(path, output="class_logits", index=2), softmax(logits, axis=1)[:, 2], rtol=1e-5)
    np.testing.assert_allclose(scored(path, index=2), expit(logits[:, 2]), rtol=1e-5)
    with pytest.raises(ConfigError, match="returns 3 numbers for a radiograph; set `index`, 0 to 2"):
        scored(path)
    with pytest.raises(ConfigError, match="index 3 is not there; it returns 3, so 0 to 2"):
        scored(path, index=3)


def test_a_probability_is_taken_as_it_is_and_a_logit_is_not_taken_for_one(tmp_path: Path) -> None:
    network = Tiny()
    sure = nn.Sequential(network, nn.Sigmoid())
    np.testing.assert_allclose(
        scored(torchscript(tmp_path / "sure.pt", sure), output="probability"), expected(sure)[:, 0], rtol=1e-5
    )
    with torch.no_grad():
        network.head.bias.fill_(3.0)
    with pytest.raises(ConfigError, match="outside"):
        scored(onnx_file(tmp_path / "a.onnx", network), output="probability")
    with pytest.raises(ConfigError, match="a softmax needs several"):
        scored(onnx_file(tmp_path / "a.onnx", network), output="class_logits")


def test_one_of_several_outputs_is_taken_by_name_or_number(tmp_path: Path) -> None:
    path = torchscript(tmp_path / "several.pt", Several())
    score = expit(expected(Tiny())[:, 0])
    np.testing.assert_allclose(scored(path, take="scores"), score, rtol=1e-5)
    np.testing.assert_allclose(scored(path, take=1), score, rtol=1e-5)
    for wrong in ({}, {"take": "score"}, {"take": 2}):
        with pytest.raises(ConfigError, match="has 2 outputs; set `take` to the one with the scores"):
            scored(path, **wrong)


def test_radiographs_are_prepared_as_asked() -> None:
    image = torch.tensor([0.0, 0.25, 0.75, 1.0]).view(1, 1, 2, 2)
    asked = settings(Path("a.onnx"), channels=3, range=[-1024, 1024], mean=[0, 1024, -1024], std=512)
    # (x·2048 − 1024 − mean) / 512 by hand, at black and at white
    found = prepared(asked, image)
    assert found[0, :, 0, 0].tolist() == [-2.0, -4.0, 0.0]
    assert found[0, :, 1, 1].tolist() == [2.0, 0.0, 4.0]
    larger = prepared(settings(Path("a.onnx"), size=8), torch.full((2, 1, 16, 16), 0.5))
    assert larger.shape == (2, 1, 8, 8)
    assert larger.unique().tolist() == [0.5]


def test_another_size_is_interpolated_to(tmp_path: Path) -> None:
    assert scored(onnx_file(tmp_path / "a.onnx", Tiny(), size=48), size=48).shape == (5,)


def test_a_wrong_size_or_number_of_channels_is_one_line(tmp_path: Path) -> None:
    network = Tiny(channels=3)
    fixed = onnx_file(tmp_path / "fixed.onnx", network, size=48)
    said = "takes 3 x 48 x 48 .* would be shown 1 x 32 x 32. Set `channels` and `size`"
    with pytest.raises(ConfigError, match=said):
        scored(fixed)
    with pytest.raises(ConfigError, match=r"takes 3 x .* shown 1 x 32 x 32"):
        scored(exported(tmp_path / "a.pt2", network, 3))
    for path, channels in (
        (torchscript(tmp_path / "a.pt", network, 3), 1),
        (torchscript(tmp_path / "f.pt", Fussy()), 3),
    ):
        with pytest.raises(ConfigError, match=r"fails on images of \d x 32 x 32") as caught:
            scored(path, channels=channels)
        assert "\n" not in str(caught.value)


def test_numbers_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    network = Tiny()
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))
    with pytest.raises(DataError, match=r"no finite number for 5 of 5 radiographs\. Look at `range`"):
        scored(onnx_file(tmp_path / "a.onnx", network))


def test_an_output_that_is_a_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="returns 1 x 32 x 32 numbers for a radiograph"):
        scored(torchscript(tmp_path / "a.pt", nn.Identity()))


@pytest.mark.parametrize(("make", "what"), [(torchscript, "a TorchScript file"), (exported, "an ExportedProgram")])
def test_a_program_is_opened_only_if_it_is_trusted(tmp_path: Path, make: Any, what: str) -> None:
    path = make(tmp_path / "a.bin", Tiny())
    with pytest.raises(ConfigError, match=f"is {what}: a program, and to open it can run any code. Set trust_program"):
        scored(path, trust_program=False)


class Bomb:
    """What a pickle can do when it is opened."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return Path.touch, (self.flag,)


def test_a_pickle_is_refused_unopened_with_the_way_to_convert(tmp_path: Path) -> None:
    flag = tmp_path / "opened"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Bomb(flag)))
    torch.save({"net": Bomb(flag)}, tmp_path / "b.pth")
    torch.save(Tiny(), tmp_path / "whole.pt")
    for name in ("a.pkl", "b.pth", "whole.pt"):
        with pytest.raises(ConfigError, match=r"is a pickle .* can run any program, so it is refused.*torch\.onnx"):
            scored(tmp_path / name)
    network = DenseNet(**DENSENET | {"in_channels": 1})
    path = bundle(tmp_path / "bundle", network)
    (path / "models" / "model.safetensors").unlink()
    torch.save({"model": Bomb(flag)}, path / "models" / "model.pt")
    with pytest.raises(ConfigError, match="weights: a pickle that holds more than tensors"):
        scored(path)
    assert not flag.exists()


def test_weights_alone_say_of_no_network(tmp_path: Path) -> None:
    torch.save(Tiny().state_dict(), tmp_path / "a.pth")
    save_file(Tiny().state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "folder").mkdir()
    for name in ("a.pth", "a.safetensors", "folder"):
        with pytest.raises(ConfigError, match="nothing says of which network"):
            scored(tmp_path / name)
    with pytest.raises(ConfigError, match="nothing lies at its path"):
        scored(tmp_path / "none.onnx")
    with pytest.raises(ConfigError, match=r"kind: 'onx' is not known.*Did you mean 'onnx_file'"):
        scored(tmp_path / "a.pth", kind="onx")


def test_no_expression_and_no_program_of_a_bundle_is_run(tmp_path: Path) -> None:
    network = DenseNet(**DENSENET | {"in_channels": 1})
    flag = tmp_path / "opened"
    wrong = [
        ({"growth_rate": f"$__import__('pathlib').Path('{flag}').touch()"}, "holds an expression"),
        ({"growth_rate": "@nowhere"}, "holds an expression"),
        ({"_target_": "scripts.net.Net"}, "describe no network of monai.networks.nets"),
        ({"_target_": "os.system"}, "describe no network of monai.networks.nets"),
        ({"_target_": "torch"}, "describe no network of monai.networks.nets"),
        ({"growth": 3}, "cannot be built"),
        ({"growth_rate": 3}, "do not fit its network_def"),
    ]
    for number, (described, said) in enumerate(wrong):
        with pytest.raises(ConfigError, match=said):
            scored(bundle(tmp_path / f"bundle{number}", network, **described))
    assert not flag.exists()
    empty = bundle(tmp_path / "empty", network)
    (empty / "models" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="the bundle has no weights"):
        scored(empty)


def test_a_bundle_with_a_torchscript_file_alone_needs_trust(tmp_path: Path) -> None:
    network = DenseNet(**DENSENET | {"in_channels": 1})
    path = bundle(tmp_path / "bundle", network)
    (path / "models" / "model.safetensors").unlink()
    torchscript(path / "models" / "model.ts", network)
    np.testing.assert_allclose(scored(path), expit(expected(network)[:, 0]), rtol=1e-5)
    with pytest.raises(ConfigError, match="Set trust_program"):
        scored(path, trust_program=False)


@pytest.mark.parametrize("name", ["a.onnx", "a.pt", "a.pt2"])
def test_a_damaged_file_is_one_line(tmp_path: Path, name: str) -> None:
    made = {"a.onnx": lambda path: onnx_file(path, Tiny()), "a.pt": None, "a.pt2": None}
    path = tmp_path / name
    (made[name] or (lambda path: (torchscript if name == "a.pt" else exported)(path, Tiny())))(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 3) + whole[-(len(whole) // 6) :])
    with pytest.raises(ConfigError) as caught:
        scored(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"siz": 224}, "no such setting.*Did you mean 'size'"),
        ({"channels": 2}, "channels: 2 is not allowed"),
        ({"std": 0}, "std is not 0"),
        ({"mean": [0.1, 0.2, 0.3]}, "mean is one number or one for each of the 1 channels"),
        ({"name": "../up"}, "name: '../up' is not allowed"),
        ({"output": "logits"}, "output: 'logits' is not allowed"),
    ],
)
def test_a_wrong_setting_is_told(content: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        settings(Path("a.onnx"), **content)


def test_the_name_is_the_paths_last_word_and_the_digest_the_files(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "Some Net-2.onnx", Tiny())
    assert settings(path).name == "some_net_2"
    assert settings(path, name="net").name == "net"
    before = digest_of_given(settings(path))
    path.write_bytes(path.read_bytes() + b"\0")
    assert digest_of_given(settings(path)) != before
    bundled = bundle(tmp_path / "bundle", DenseNet(**DENSENET | {"in_channels": 1}))
    before = digest_of_given(settings(bundled))
    (bundled / "configs" / "inference.json").write_text(json.dumps({"other": 1}))
    assert digest_of_given(settings(bundled)) != before


def test_onnx_without_its_runtime_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'medtea\[onnx\]'"):
        scored(onnx_file(tmp_path / "a.onnx", Tiny()))
