"""The kernel of sliding windows, run by Triton's interpreter: it has no bfloat16, and nothing of a GPU's speed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from llm.config import ModelConfig
from llm.errors import UserError
from llm.model import Decoder, initialise
from llm.model.attention import reference_attention
from llm.model.masks import dense, documents, window
from llm.training.rank.layers import use_window_kernel

pytest.importorskip("triton", reason="the package triton is not installed: `make kernels`")

MODEL = ModelConfig(
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=64, sliding_window=7, layer_types=("sliding_attention", "full_attention"),
)  # fmt: skip


def attention(*arguments: Tensor, size: int, scale: float | None = None) -> Tensor:
    """Our kernel."""
    from llm.model.kernels.sliding_window import sliding_window_attention

    return sliding_window_attention(*arguments, size, scale)


def results(compute: Callable[..., Tensor], inputs: list[Tensor], dy: Tensor) -> list[Tensor]:
    """Output and the gradients of all inputs."""
    leaves = [one.detach().requires_grad_() for one in inputs]
    y = compute(*leaves)
    y.backward(dy.to(y.dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


@pytest.mark.parametrize(
    ("positions", "size", "heads", "key_heads", "width"),
    [
        (70, 13, 4, 2, 16),  # blocks in part, groups
        (33, 100, 2, 2, 24),  # all positions seen, a width that is no power of two
        (130, 64, 2, 1, 8),  # whole blocks
        (20, 1, 2, 1, 16),  # only itself
        (1, 3, 1, 1, 16),
    ],
)
@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float32, 2e-6), (torch.float16, 3e-3)])
def test_it_is_the_reference(positions, size, heads, key_heads, width, kind: torch.dtype, tolerance: float):
    torch.manual_seed(0)
    shapes = [(2, heads, positions, width)] + 2 * [(2, key_heads, positions, width)]
    inputs, dy = [torch.randn(shape, dtype=kind) for shape in shapes], torch.randn(shapes[0], dtype=kind)
    found = results(lambda *leaves: attention(*leaves, size=size, scale=0.3), inputs, dy)
    mask = dense(window(size), 1, positions, positions, dy.device)
    expected = results(
        lambda *leaves: reference_attention(*leaves, mask, scale=0.3), [one.double() for one in inputs], dy
    )
    for ours, reference in zip(found, expected, strict=True):
        assert (ours.double() - reference).abs().max() <= tolerance * max(1.0, float(reference.abs().max()))


def test_a_transposed_input_is_read_as_it_is():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 20, 2, 16).transpose(1, 2) for _ in range(3))
    expected = reference_attention(q, k, v, dense(window(5), 1, 20, 20, q.device))
    assert torch.allclose(attention(q, k, v, size=5), expected, atol=1e-5)


def test_it_has_a_form_without_values():
    with FakeTensorMode():
        q, k = torch.empty(2, 4, 20, 16, requires_grad=True), torch.empty(2, 2, 20, 16)
        y = attention(q, k, k, size=5)
        y.sum().backward()
        assert y.shape == q.shape == q.grad.shape


def test_a_model_takes_it_where_a_layer_has_a_plain_window():
    model = Decoder(MODEL, 64)
    initialise(model, 3)
    ids = torch.arange(40)[None] % 64
    ids[0, 9] = 0
    expected, cut = model(ids), model(ids, mask=documents(ids, 0))
    calls: list[int] = []
    use_window_kernel(model, "cpu")
    kernel = model.window_kernel
    assert kernel is not None
    model.window_kernel = lambda *arguments: calls.append(arguments[3]) or kernel(*arguments)
    assert torch.allclose(model(ids), expected, atol=1e-5)
    assert calls == [7]
    assert torch.equal(model(ids, mask=documents(ids, 0)), cut)  # another mask: torch's kernels
    assert torch.equal(model(ids[:, :7]), model(ids[:, :7]))  # all in the window
    assert calls == [7]


def test_processors_are_refused_unless_the_interpreter_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(UserError, match="needs a GPU, and these ranks are on processors"):
        use_window_kernel(Decoder(MODEL, 64), "cpu")
