"""Bytes that the forward pass of a micro-batch leaves for its backward pass, counted by hand from `llm.model.decoder`.

They are those of torch's autograd and autocast, without a compiler: under autocast each product keeps a copy of its
input and of its weights in 16 bits; norms, the stream and the loss are float32. Not counted are masks that are no
causal ones, and scores of an attention with dropout: a GPU has kernels for both. Source of the idea: Korthikanti et al.
2022, arXiv:2205.05198, section 4.
"""

from __future__ import annotations

from llm.training.estimate.sizes import FLOAT32, HALF, Sizes, values

STREAMS = 2
"""Additions to the stream in a layer: each result is kept for the norm that follows."""


def layer_bytes(sizes: Sizes) -> float:
    """All that one layer keeps, without recomputation."""
    model, width, tokens = sizes.model, sizes.model.hidden_size, sizes.tokens
    inner, is_gated = model.intermediate_size / sizes.tensor, model.gated_mlp
    norms = 4 if model.sandwich_norms else 2
    kept = STREAMS * FLOAT32 * sizes.stream * width
    kept += norms * FLOAT32 * sizes.stream * (width + 1 if model.norm == "rms" else 2)
    if model.sandwich_norms:
        kept += 2 * sizes.value * sizes.stream * width
    if model.residual_dropout:
        kept += 2 * sizes.value * sizes.stream * width
    inputs = 3 + (2 if is_gated else 1) if sizes.is_half else 2  # autocast makes a copy for each product
    kept += inputs * sizes.value * tokens * width
    kept += _attention_bytes(sizes)
    kept += (4 if is_gated else 2) * sizes.value * tokens * inner
    return kept + copied_weights(sizes) * sizes.own_layers / sizes.layers  # layers that repeat one share its copy


def _attention_bytes(sizes: Sizes) -> float:
    """Queries and keys after the rotation, values, what attention gives, and the logarithms of its sums."""
    model, tokens, context = sizes.model, sizes.tokens, sizes.training.parallel.context
    heads = model.num_attention_heads / sizes.tensor
    queries, keys = heads * model.head_size, model.num_key_value_heads / sizes.tensor * model.head_size
    kept = sizes.value * tokens * (2 * queries + 2 * keys * context) + FLOAT32 * tokens * heads
    if model.qk_norm:
        kept += tokens * (queries + keys) * (sizes.value + FLOAT32)
    if model.attn_logit_softcapping is not None:  # no fused kernel: the scores of all pairs
        kept += (2 * FLOAT32 + sizes.value) * heads * tokens * sizes.training.batch.sequence_length
    return kept


def copied_weights(sizes: Sizes) -> float:
    """The copies in 16 bits of a layer's matrices, one for each micro-batch."""
    return HALF * values(sizes.layer_matrices) if sizes.is_half else 0.0


def kept_bytes(sizes: Sizes) -> float:
    """All that the layers here keep of one micro-batch, with the recomputation that is configured."""
    compute, layers = sizes.training.compute, sizes.layers
    again = -(-layers // compute.recompute_every) if compute.recompute != "none" else 0
    return (layers - again) * layer_bytes(sizes) + again * recomputed_bytes(sizes)


def recomputed_bytes(sizes: Sizes) -> float:
    """The bytes that a layer keeps if it is computed again; all if it is not."""
    how = sizes.training.compute.recompute
    return {"none": layer_bytes, "layers": entry_bytes, "operations": _costly_bytes}[how](sizes)


def entry_bytes(sizes: Sizes) -> float:
    """The stream before a layer: all that a layer keeps that is computed again."""
    return FLOAT32 * sizes.stream * sizes.model.hidden_size


def _costly_bytes(sizes: Sizes) -> float:
    """With `recompute=operations`: the entry, and what matrix products and attention give."""
    model, tokens = sizes.model, sizes.tokens
    heads = model.num_attention_heads / sizes.tensor
    outputs = heads * model.head_size * 2 + 2 * model.num_key_value_heads / sizes.tensor * model.head_size
    outputs += 2 * model.hidden_size + (2 if model.gated_mlp else 1) * model.intermediate_size / sizes.tensor
    return entry_bytes(sizes) + sizes.value * tokens * outputs + FLOAT32 * tokens * heads


def loss_bytes(sizes: Sizes) -> tuple[float, float]:
    """The most that head and loss take in their forward pass, and in their backward pass."""
    loss, width, tokens = sizes.training.loss, sizes.model.hidden_size, sizes.tokens
    vocabulary = sizes.vocab_size / sizes.tensor
    bound = sizes.value if sizes.model.final_logit_softcapping is not None else 0
    normed = sizes.stream * FLOAT32 * width + tokens * sizes.value * width
    leaving = tokens * FLOAT32 * width if sizes.is_half else 0.0  # the norm's result, before its copy in 16 bits
    at_once = loss.tokens_at_once(int(tokens), width, sizes.vocab_size)
    if at_once is not None:
        head = FLOAT32 * sizes.head_values
        made = head + tokens * width * sizes.value
        logits = at_once * vocabulary * (2 * FLOAT32 + 2 * bound)
        return normed + leaving + made + head + logits, normed + 2 * made  # a slice's part, before it is added
    whole = tokens * vocabulary
    further = (FLOAT32 if getattr(loss, "z_loss", 0.0) else 0) + (FLOAT32 if getattr(loss, "label_smoothing", 0) else 0)
    before = 2 * FLOAT32 + (HALF if sizes.is_half else 0) + bound + further
    copies = 3 if sizes.tensor == 1 else 4  # torch's own loss over a cut vocabulary makes one more
    after = copies * FLOAT32 + bound + further
    return normed + leaving + whole * before, normed + whole * after
