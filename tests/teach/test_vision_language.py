"""The image-text model: its logits are CLIP's, relevance goes through it, and its file is not trusted."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from oracles.made_clip import FEATURES, HEAD_WIDTH, PATCH, RESOLUTION, TOKENS, WIDTH, MadeClip, made_clip, prompts
from oracles.made_run import SIZE, made_index, silent_work
from oracles.made_students import card_of, distilled, learning_rows, taught
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from medtea.core.errors import ConfigError
from medtea.core.names import INPUT, Field
from medtea.core.settings import parse
from medtea.evaluate.scores import score_all
from medtea.lrp import HeatmapPass
from medtea.teach.teachers.vision_language import Settings, Teacher
from medtea.training.activations import activations
from medtea.training.networks import load_classifier
from medtea.training.zero_shot import DEVIATION, MEAN, ZeroShot


def written(folder: Path, model: MadeClip, kind: str = "safetensors") -> Path:
    """The weights in a file."""
    path = folder / {"safetensors": "clip.safetensors", "torch": "clip.pt", "torchscript": "script.pt"}[kind]
    state = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "torch":
        torch.save(state, path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what depends on values is fixed by the trace; the weights count alone
            torch.jit.trace(model, torch.rand(1, 3, RESOLUTION, RESOLUTION)).save(str(path))
    return path


def options(path: Path, *, classes: int = 2, **given: Any) -> dict[str, Any]:
    return {"weights": str(path), "tokens": TOKENS[:classes], "head_width": HEAD_WIDTH} | given


def built(given: dict[str, Any], *, logits: int = 1, channels: int = 1, size: int = RESOLUTION) -> ZeroShot:
    settings = parse(Settings, given, "teach.vision_language.options")
    found = Teacher.built(settings, "small_resnet", 0, channels=channels, logits=logits, size=size).network
    assert isinstance(found, ZeroShot)
    return found.eval()


def images(count: int = 5, size: int = RESOLUTION) -> Tensor:
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(1))


def cosines(model: MadeClip, x: Tensor, texts: Tensor) -> Tensor:
    """CLIP's own: exp(logit_scale) x cosine, (batch, classes)."""
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    image = model.visual((x.expand(-1, 3, -1, -1) - mean) / deviation)
    return model.logit_scale.exp() * normalize(image, dim=1) @ normalize(texts, dim=1).T


@torch.no_grad()
@pytest.mark.parametrize("kind", ["safetensors", "torch", "torchscript"])
def test_the_logits_are_those_of_clip_whatever_the_file(kind: str, tmp_path: Path) -> None:
    model, x = made_clip(), images()
    path = written(tmp_path, model, kind)
    trusted = {"trust_torchscript": kind == "torchscript"}
    wanted = cosines(model, x, model.encode_text(prompts(3)))
    several = built(options(path, classes=3, **trusted), logits=3)(x)
    torch.testing.assert_close(several, wanted, rtol=1e-4, atol=1e-5)
    assert several.std() > 0.01, "the texts are told apart"
    one = built(options(path, **trusted))(x)
    probabilities = wanted[:, :2].softmax(1)[:, 1:]
    torch.testing.assert_close(torch.sigmoid(one), probabilities, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_texts_may_be_given_as_features(ending: str, tmp_path: Path) -> None:
    model, x = made_clip(), images()
    texts = torch.randn(2, FEATURES, generator=torch.Generator().manual_seed(2))
    file = tmp_path / f"texts.{ending}"
    if ending == "npy":
        np.save(file, texts.numpy())
    else:
        save_file({"texts": texts}, file)
    found = built(options(written(tmp_path, model), tokens=(), embeddings=str(file), logit_scale=30.0))(x)
    wanted = cosines(model, x, texts) * 30 / model.logit_scale.exp()
    torch.testing.assert_close(found, wanted[:, 1:] - wanted[:, :1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_radiographs_of_another_size_are_resized_as_clip_resizes(tmp_path: Path) -> None:
    model = made_clip()
    path = written(tmp_path, model)
    for size in (20, 50):
        x = images(size=size)
        resized = interpolate(x, size=(RESOLUTION, RESOLUTION), mode="bicubic", antialias=True)
        plain = built(options(path))(resized)
        torch.testing.assert_close(built(options(path), size=size)(x), plain, rtol=1e-4, atol=1e-5)
    coloured = images().expand(-1, 3, -1, -1)
    torch.testing.assert_close(built(options(path), channels=3)(coloured), built(options(path))(images()))


@pytest.mark.parametrize("size", [RESOLUTION, 40])
def test_relevance_goes_through_it_and_is_conserved(size: int, tmp_path: Path) -> None:
    network = built(options(written(tmp_path, made_clip()), classes=3), logits=3, size=size).double()
    x, u = images(size=size).double(), torch.randn(5, 3, dtype=torch.float64)
    x[..., :7] = 0
    layers = ["visual.conv1", "visual.grids.0", "visual.grids.1", "visual.grids.2"]
    with torch.no_grad():
        found = HeatmapPass(network, x, layers, biases=True)(x, u)
        plain = network(x)
    torch.testing.assert_close(found.logits, plain)
    torch.testing.assert_close(found.maps[INPUT].sum((1, 2, 3)) + found.absorbed[:, 0], (u * plain).sum(1))
    assert (found.maps[INPUT][..., :7] == 0).all(), "a black pixel has no relevance"
    side = RESOLUTION // PATCH
    for layer in layers:
        assert found.maps[layer].shape == (5, 1, side, side)
        assert (found.maps[layer] != 0).all()


def test_it_can_be_asked_for_activations_of_places_and_unit_features(tmp_path: Path) -> None:
    network = built(options(written(tmp_path, made_clip())))
    with torch.no_grad():
        kept = activations(network, network.head, images(3), ["visual.conv1", "visual.grids.0"])
    assert {layer: value.shape for layer, value in kept.layers.items()} == {
        "visual.conv1": (3, WIDTH, 4, 4),
        "visual.grids.0": (3, WIDTH, 4, 4),
    }
    torch.testing.assert_close(kept.features.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(network.head(kept.features), kept.logits)


def stored(folder: Path, **given: Any) -> tuple[Any, Any, Any]:
    """A run up to the teacher: work, index and teacher."""
    work = silent_work(folder / "run")
    index = made_index(work, learning_rows())
    path = written(folder, made_clip())
    teacher = taught(work, index, teacher="vision_language", options=options(path, **given))
    return work, index, teacher


def test_it_teaches_students_by_heatmaps_features_and_logits_without_having_been_trained(tmp_path: Path) -> None:
    work, index, teacher = stored(tmp_path)
    card = card_of(teacher)
    assert (card["network"], card["trained_on"], card["selected_on"]) == ("zero_shot", 0, 0)
    assert card["selection"] == "none: it comes trained"
    assert card["shape"] == {"channels": 1, "logits": 1, "width": FEATURES}
    assert card["sees"] == card["sees_at_inference"] == ["radiograph"]
    assert not (teacher.folder / "history.csv").exists()
    again = load_classifier(teacher, torch.device("cpu"))
    shown = torch.from_numpy(np.load(teacher.bank / "radiograph.npy")[:, 0].astype(np.float32))[:, None]
    with torch.no_grad():
        logits = again(shown).numpy()
    np.testing.assert_allclose(np.load(teacher.bank / "teacher_logit.npy")[:, 0], logits, rtol=1e-4, atol=1e-4)
    assert np.load(teacher.bank / "heatmap_visual.grids.1.npy").shape == (16, 1, 1, 4, 4)
    students = distilled(work, index, teacher, ["tea", "attention_distil", "gradient_input", "logit_distil"])
    scores = score_all(index, None, teacher, students, torch.device("cpu"))
    assert scores["score"].between(0, 1).all()
    assert set(scores["method"]) == {"teacher", "tea", "attention_distil", "gradient_input", "logit_distil"}
    assert card_of(students[0])["shape"]["width"] == FEATURES, "an adapter leads to the copied last layer"


def test_another_file_of_the_same_name_is_another_teacher(tmp_path: Path) -> None:
    work, index, teacher = stored(tmp_path)
    first = json.loads((teacher.folder / "record.json").read_text())["digest"]
    given = {"teacher": "vision_language", "options": options(tmp_path / "clip.safetensors")}
    assert taught(work, index, **given).digest == first
    assert work.ran.count("teach") == 1
    other = made_clip()
    nn.init.zeros_(other.visual.class_embedding)
    written(tmp_path, other)
    assert taught(work, index, **given).digest != first


def test_its_phases_are_none_and_it_sees_the_radiograph_alone() -> None:
    assert list(Teacher.phases(Teacher(nn.Linear(1, 1), Settings(weights="w", embeddings="e")))) == []
    assert Teacher.sees == Teacher.looks_at == {Field.RADIOGRAPH}
    assert SIZE == 64, "which is not the made model's own, so that the stage resizes"


# --- files that are refused


class Runs:
    """Unpickled, it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_holds_more_than_tensors_is_refused_before_it_can_do_anything(tmp_path: Path) -> None:
    torch.save({"visual.conv1.weight": torch.zeros(1), "more": Runs(tmp_path / "done")}, tmp_path / "clip.pt")
    with pytest.raises(ConfigError, match=r"pickle that holds more than tensors.*save_file\(model\.state_dict"):
        built(options(tmp_path / "clip.pt"))
    assert not (tmp_path / "done").exists()


def test_a_torchscript_file_is_opened_only_if_it_is_trusted_and_only_for_weights_of_clips_layout(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, made_clip(), "torchscript")
    with pytest.raises(ConfigError, match=r"is a program.*trust_torchscript: true if you trust it"):
        built(options(path))
    program = torch.jit.trace(nn.Sequential(nn.Flatten(), nn.Linear(9, 1)), torch.rand(2, 1, 3, 3))
    program.save(str(tmp_path / "other.pt"))
    with pytest.raises(ConfigError, match=r"no 'visual\.conv1\.weight'\); torch\.export takes no TorchScript program"):
        built(options(tmp_path / "other.pt", trust_torchscript=True))
    with pytest.raises(ValueError, match="ScriptModule is not supported"):  # else such a teacher could be offered
        torch.export.export(program, (torch.rand(2, 1, 3, 3),), strict=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "clip.onnx"}, "an ONNX file is not read: its runtime gives no gradients"),
        ({"weights": "nowhere.safetensors"}, r"weights: the file cannot be read \(FileNotFoundError\)"),
        ({"tokens": ()}, "give each class's text either by `embeddings` or by `tokens`"),
        ({"tokens": TOKENS[:2], "embeddings": "texts.npy"}, "either by `embeddings` or by `tokens`"),
        ({"tokens": ((1, 2), ())}, "either by `embeddings` or by `tokens`"),
        ({"tokens": TOKENS}, r"texts' features are \(3, 12\).*need \(2, 12\)"),
        ({"tokens": ((1, 40), (1, 39))}, "at most 9 ids, each from 0 to 39"),
        ({"tokens": ((1,) * 10, (1, 39))}, "at most 9 ids"),
        ({"tokens": (), "embeddings": "nowhere.npy"}, "embeddings: the file is no .npy array"),
        ({"head_width": 7}, "16 channels, 16 places and 4 layers cannot be built with head_width 7"),
        ({"activation": "relu"}, "activation"),
    ],
)
def test_what_cannot_be_is_said(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    given = options(written(tmp_path, made_clip())) | change
    given["weights"] = str(tmp_path / given["weights"])
    with pytest.raises(ConfigError, match=message) as raised:
        built(given)
    assert str(tmp_path) not in str(raised.value), "no path of this machine in a message"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("visual.conv1.weight", r"not in CLIP's layout.*only that layout can be built here"),
        ("visual.ln_post.bias", r"what stands under 'visual\.' is no plain CLIP transformer"),
        ("token_embedding.weight", "the weights have no text tower. Give `embeddings`"),
        ("logit_scale", r"logit_scale: the weights have none. Give it; CLIP's is 100"),
    ],
)
def test_weights_that_lack_something_are_refused_by_name(change: str, message: str, tmp_path: Path) -> None:
    state = {name: value for name, value in made_clip().state_dict().items() if name != change}
    save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(ConfigError, match=message):
        built(options(tmp_path / "clip.safetensors"))
