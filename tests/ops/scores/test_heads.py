"""Heads against torch's own forward pass, and files that are no head."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curate.errors import CurateError
from curate.ops.scores.heads import load_head


def vectors(width: int) -> Any:
    found = np.random.default_rng(0).normal(size=(5, width)).astype(np.float16)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def torch_says(module: Any, given: Any) -> Any:
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(given.astype(np.float32)))[:, 0].numpy()


def laion_mlp() -> Any:
    """The shape of LAION's improved aesthetic predictor, whose layers are `layers.0` to `layers.7`."""
    from torch import nn

    class Predictor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            drop = nn.Dropout
            self.layers = nn.Sequential(
                nn.Linear(768, 1024), drop(), nn.Linear(1024, 128), drop(), nn.Linear(128, 64), drop(),
                nn.Linear(64, 16), nn.Linear(16, 1),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return self.layers(x)

    return Predictor().eval()


@pytest.mark.parametrize("ending", ["pt", "pth", "safetensors"])
@pytest.mark.parametrize("shape", ["linear", "mlp", "eleven"])
def test_a_head_is_torchs_own(tmp_path: Path, ending: str, shape: str) -> None:
    import torch
    from safetensors.torch import save_file
    from torch import nn

    torch.manual_seed(1)
    shapes: dict[str, Any] = {
        "linear": lambda: nn.Linear(768, 1),
        "mlp": laion_mlp,
        "eleven": lambda: nn.Sequential(*(nn.Linear(768, 768) for _ in range(10)), nn.Linear(768, 1)),
    }  # fmt: skip
    module = shapes[shape]()
    path = tmp_path / f"head.{ending}"
    (save_file if ending == "safetensors" else torch.save)(module.state_dict(), path)
    given = vectors(768)
    np.testing.assert_allclose(load_head(str(path))(given), torch_says(module, given), atol=1e-6)


def test_relu_between_layers(tmp_path: Path) -> None:
    import torch
    from torch import nn

    module = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))
    torch.save({"state_dict": module.state_dict()}, tmp_path / "head.pt")
    given = vectors(8)
    with_relu = load_head(str(tmp_path / "head.pt"), activation="relu")(given)
    np.testing.assert_allclose(with_relu, torch_says(module, given), atol=1e-6)
    assert not np.allclose(with_relu, load_head(str(tmp_path / "head.pt"))(given))


def test_a_vector_is_a_head_without_bias_and_a_missing_embedding_has_no_value(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "head.npy", np.arange(8.0))
    given = vectors(8)
    given[2] = np.nan
    found = load_head(str(tmp_path / "head.npy"))(given)
    np.testing.assert_allclose(found, given.astype(np.float32) @ np.arange(8), rtol=1e-5)
    assert np.isnan(found).tolist() == [False, False, True, False, False]


def test_a_value_does_not_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    """Where pairs were revoked, the values of the others are made again from fewer rows."""
    random = np.random.default_rng(1)
    np.save(tmp_path / "head.npy", random.normal(size=256).astype(np.float32))
    head = load_head(str(tmp_path / "head.npy"))
    given = random.normal(size=(40, 256)).astype(np.float16)
    found = head(given).tobytes()
    assert [n for n in range(41) if head(given[:n]).tobytes() != found[: 4 * n]] == []


def test_what_is_no_head_is_told_in_a_line(tmp_path: Path) -> None:
    import torch
    from torch import nn

    (tmp_path / "text.pt").write_text("not weights")
    (tmp_path / "text.npy").write_text("not weights")
    (tmp_path / "text.safetensors").write_text("not weights")
    states = {
        "wide": nn.Linear(8, 2).state_dict(),
        "norm": nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 1)).state_dict(),
        "broken": {"0.weight": torch.zeros(4, 8), "1.weight": torch.zeros(1, 5)},
        "image": {"weight": torch.zeros(1, 3, 2, 2)},
        "empty": {},
    }
    for name, state in states.items():
        torch.save(state, tmp_path / f"{name}.pt")
    cases = {
        "text.pt": "not the weights of a head",
        "text.npy": "not the weights of a head",
        "text.safetensors": "not the weights of a head",
        "absent.pt": "no such file",
        "wide.pt": "gives 2 values",
        "norm.pt": "takes 8 values|only linear layers|not a linear",
        "broken.pt": "1.weight takes 5 values, the layer before it gives 4",
        "image.pt": "not a linear layer's",
        "empty.pt": "found nothing",
    }
    for name, message in cases.items():
        with pytest.raises(CurateError, match=message) as caught:
            load_head(str(tmp_path / name))
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(str(tmp_path / name))
