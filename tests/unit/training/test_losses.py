"""The losses against torch's own and against finite differences of nothing but their definition."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from llm.errors import UserError
from llm.model import Decoder, initialise
from llm.training.loss._linear import sliced_loss, whole_loss
from llm.training.loss.cross_entropy import CrossEntropy
from llm.training.loss.liger import Liger
from llm.training.trainer import Trainer
from tests.cases.training import MODEL

Make = Callable[..., Trainer]
TOKENS, WIDTH, WORDS = 21, 12, 37


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, WIDTH, generator=generator, dtype=torch.float64)
    head = torch.randn(WORDS, WIDTH, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, WORDS, (3, 7), generator=generator)
    targets[0, :3] = -100
    return x.requires_grad_(), head.requires_grad_(), targets


def by_definition(x: Tensor, head: Tensor, targets: Tensor, smoothing: float, z_loss: float) -> Tensor:
    logits = (x @ head.T).flatten(0, 1)
    log_p = logits.log_softmax(-1)
    total = torch.zeros((), dtype=x.dtype)
    learned = [n for n, target in enumerate(targets.flatten().tolist()) if target != -100]
    for n in learned:
        wanted = torch.full((WORDS,), smoothing / WORDS, dtype=x.dtype)
        wanted[targets.flatten()[n]] += 1 - smoothing
        total = total - (wanted * log_p[n]).sum() + z_loss * logits[n].exp().sum().log() ** 2
    return total / len(learned)


@pytest.mark.parametrize(("smoothing", "z_loss"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.01), (0.2, 0.1)])
@pytest.mark.parametrize("tokens", [None, 1, 4, 21, 100])
def test_loss_and_gradients_are_those_of_the_definition(
    inputs: tuple[Tensor, Tensor, Tensor], smoothing: float, z_loss: float, tokens: int | None
):
    x, head, targets = inputs
    expected = by_definition(x, head, targets, smoothing, z_loss)
    if tokens is None:
        found = whole_loss(x @ head.T, targets, smoothing, z_loss)
    else:
        found = sliced_loss(x, head, targets, smoothing, z_loss, tokens)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = torch.autograd.grad(expected * 3, (x, head))
    for gradient, right in zip(torch.autograd.grad(found * 3, (x, head)), wanted, strict=True):
        assert torch.allclose(gradient, right, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("smoothing", "z_loss"), [(0.0, 0.0), (0.1, 0.0), (0.0, 0.01)])
def test_ligers_kernels_give_the_loss_and_the_gradients_of_ours(smoothing: float, z_loss: float):
    pytest.importorskip("liger_kernel", reason="the package liger-kernel is not installed: `make kernels`")
    model = Decoder(MODEL, 64)
    initialise(model, 1)
    ids, targets = torch.arange(32).view(2, 16), torch.arange(1, 33).view(2, 16)
    targets[0, :3] = -100
    found = []
    for loss in (
        CrossEntropy(label_smoothing=smoothing, z_loss=z_loss),
        Liger(label_smoothing=smoothing, z_loss=z_loss),
    ):
        model.zero_grad()
        value = loss.compute(model, model.hidden(ids), targets)
        (3 * value).backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        found.append((value.item(), gradients))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-6)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        assert torch.allclose(theirs, ours, rtol=1e-4, atol=1e-7)


def test_ligers_slices_are_those_that_it_chooses():
    assert Liger().tokens_at_once(8192, 4096, 50_000) == 1024
    assert Liger().tokens_at_once(6, 4096, 4096) == 6


def test_liger_is_refused_on_processors_and_without_its_package(monkeypatch: pytest.MonkeyPatch):
    x, targets = torch.zeros(1, 2, MODEL.hidden_size), torch.zeros(1, 2, dtype=torch.int64)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "liger_kernel.ops.fused_linear_cross_entropy", None)
        with pytest.raises(UserError, match=r"needs the package liger-kernel: .*\n.*pip install 'gristmill\[liger\]'"):
            Liger().compute(Decoder(MODEL, 64), x, targets)
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(UserError, match="name=liger needs a GPU, and these ranks are on processors"):
        Liger().compute(Decoder(MODEL, 64), x, targets)


def test_slices_never_hold_all_logits(inputs: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch):
    from llm.training.loss import _linear

    x, head, targets = inputs
    sizes: list[tuple[int, ...]] = []
    real = _linear._losses_and_gradients
    monkeypatch.setattr(
        _linear,
        "_losses_and_gradients",
        lambda logits, *rest: (sizes.append(tuple(logits.shape)), real(logits, *rest))[1],
    )
    sliced_loss(x, head, targets, 0.0, 0.0, 8).backward()  # type: ignore[no-untyped-call]
    assert sizes == [(8, WORDS), (8, WORDS), (5, WORDS)]


def test_slices_bound_their_logits_as_the_model_does(inputs: tuple[Tensor, Tensor, Tensor]):
    x, head, targets = inputs
    expected = whole_loss(torch.tanh(x @ head.T / 3.0) * 3.0, targets, 0.1, 0.01)
    found = sliced_loss(x, head, targets, 0.1, 0.01, 4, bound=3.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted = torch.autograd.grad(expected, (x, head))
    for gradient, right in zip(torch.autograd.grad(found, (x, head)), wanted, strict=True):
        assert torch.allclose(gradient, right, rtol=1e-5, atol=1e-7)


def test_slices_of_a_model_with_bounded_logits_change_rounding_alone():
    model = Decoder(MODEL.model_copy(update={"final_logit_softcapping": 0.5, "initializer_range": 0.5}), 64)
    initialise(model, 1)
    ids = torch.arange(32).view(2, 16)
    x = model.hidden(ids)
    whole, sliced = (CrossEntropy(slice_tokens=tokens).compute(model, x, ids) for tokens in (None, 5))
    assert sliced.item() == pytest.approx(whole.item(), rel=1e-5)


def test_slices_change_the_training_by_rounding_alone(make_trainer: Make):
    whole, sliced = make_trainer(), make_trainer({"loss": {"name": "cross_entropy", "slice_tokens": 5}})
    for step in range(4):
        assert sliced.step(step, 4).loss == pytest.approx(whole.step(step, 4).loss, rel=1e-5)


def test_the_validation_loss_is_plain_cross_entropy(make_trainer: Make):
    trainer = make_trainer({"loss": {"name": "cross_entropy", "label_smoothing": 0.3, "z_loss": 0.1}})
    inputs_BT, targets_BT = trainer.validate.batches[0]
    trainer.validate.batches, trainer.validate._rounds = [(inputs_BT, targets_BT)], 1
    expected = cross_entropy(trainer.model(inputs_BT).flatten(0, 1), targets_BT.flatten())
    assert trainer.validate.loss(trainer) == pytest.approx(expected.item(), rel=1e-5)
    assert trainer.task(inputs_BT, targets_BT).item() > expected.item() + 0.01


@pytest.mark.parametrize("mask", ["documents", {"name": "prefix", "tokens": 4}, {"name": "block_sparse", "block": 4}])
def test_a_mask_changes_the_training(make_trainer: Make, mask: object):
    plain, masked = make_trainer(), make_trainer({"mask": mask})
    assert masked.step(0, 4).loss != plain.step(0, 4).loss
    for step in range(1, 12):
        last = masked.step(step, 12).loss
    assert last < 3.9  # ln 64 = 4.16


def test_a_document_is_learned_as_if_it_were_alone(make_trainer: Make):
    """The logits after `<|endoftext|>` (0) do not depend on what is before it."""
    trainer = make_trainer({"mask": "documents"})
    one = torch.tensor([[5, 9, 7, 0, 3, 4, 5, 6]])
    other = torch.tensor([[8, 8, 8, 0, 3, 4, 5, 6]])
    mask = trainer.config.mask
    found = [trainer.model(ids, mask=mask.mask(ids, 0))[0, 3:] for ids in (one, other)]
    assert torch.equal(*found)
    assert not torch.equal(trainer.model(one)[0, 3:], trainer.model(other)[0, 3:])


def test_what_a_prefix_sees_is_no_target_of_its_own(make_trainer: Make):
    trainer = make_trainer({"mask": {"name": "prefix", "tokens": 3}})
    assert trainer.config.mask.targets(torch.tensor([[1, 2, 3, 4]])).tolist() == [[-100, -100, 3, 4]]
