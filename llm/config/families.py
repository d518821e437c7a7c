"""Classes of `transformers` that compute our models, and their `config.json`.

A family is a row: which of our settings its class fixes, and which it lets free. The row serves both ways: `document`
writes a config.json, `read` understands one and refuses each key that it does not know. Read from `transformers` 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm.config.sections.model import ModelConfig, RopeScaling
from llm.errors import UserError

COMMON = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings", "rope_theta", "rms_norm_eps", "initializer_range", "tie_word_embeddings",
)  # fmt: skip
"""Settings that every family lets free."""
NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")
"""Keys without which no config.json is understood."""
LACKED = {"rms_norm_eps": 1e-6, "tie_word_embeddings": False}
"""The values that all classes take where a config.json lacks the key, if the family does not say otherwise."""
LLAMA = frozenset({"hidden_act", "rope_scaling"})
SLIDING = frozenset({"sliding_window", "layer_types"})
GEMMA = {"hidden_act": "gelu_pytorch_tanh", "scale_embeddings": True, "unit_offset_norms": True}
OWN = "gristmill"
"""The `model_type` of a model that no class of `transformers` computes."""
OF_NO_EFFECT = frozenset({
    "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "use_cache", "bos_token_id",
    "eos_token_id", "pad_token_id", "vocab_size", "_name_or_path", "cache_implementation", "_sliding_window_pattern",
    "sliding_window_pattern", "max_window_layers", "use_sliding_window",
})  # fmt: skip
"""Keys of a config.json that change no logit, or that another key is judged with."""
FIXED: dict[str, tuple[Any, ...]] = {
    "pretraining_tp": (1, None),
    "use_bidirectional_attention": (False, None),
    "partial_rotary_factor": (1.0, None),
}
"""Keys that only these values are understood of."""


@dataclass(frozen=True)
class Family:
    """A class of `transformers`."""

    model_type: str
    architecture: str
    free: frozenset[str] = frozenset()
    """Settings beyond the common ones that it reads."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Settings that are part of it; all others have our defaults."""
    activation_key: str = "hidden_act"
    missing: Mapping[str, Any] = field(default_factory=dict)
    """The values that it takes where its config.json lacks a key, beyond LACKED."""

    def misfits(self, config: ModelConfig) -> list[str]:
        """Our settings that it does not have at these values."""
        found = []
        for name, info in ModelConfig.model_fields.items():
            wanted = self.fixed.get(name, info.default)
            if name not in COMMON and name not in self.free and getattr(config, name) != wanted:
                found.append(name)
        if "attention_bias" in self.free and config.attention_bias == "qkv":
            found.append("attention_bias")
        if self.model_type == "mistral" and "full_attention" in config.layers and config.sliding_window is not None:
            found.append("layer_types")  # its window is that of all layers
        return found


FAMILIES = (
    Family("llama", "LlamaForCausalLM", LLAMA | {"attention_bias", "mlp_bias", "head_dim"}),
    Family("mistral", "MistralForCausalLM", LLAMA | SLIDING | {"head_dim"}, missing={"sliding_window": 4096}),
    Family("qwen2", "Qwen2ForCausalLM", LLAMA | SLIDING, {"attention_bias": "qkv"}),
    Family(
        "qwen3", "Qwen3ForCausalLM", LLAMA | SLIDING | {"attention_bias", "head_dim"}, {"qk_norm": True},
        missing={"head_dim": 128},
    ),
    Family(
        "gemma", "GemmaForCausalLM", frozenset({"attention_bias", "head_dim"}), GEMMA,
        missing={"tie_word_embeddings": True, "head_dim": 256},
    ),
    Family(
        "gemma2", "Gemma2ForCausalLM",
        SLIDING | {"attention_bias", "head_dim", "query_pre_attn_scalar", "attn_logit_softcapping",
                   "final_logit_softcapping"},
        {**GEMMA, "sandwich_norms": True}, "hidden_activation",
        {"tie_word_embeddings": True, "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096,
         "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    Family(
        "gemma3_text", "Gemma3ForCausalLM",
        SLIDING | {"attention_bias", "head_dim", "query_pre_attn_scalar", "attn_logit_softcapping",
                   "final_logit_softcapping", "rope_theta_sliding", "rope_scaling"},
        {**GEMMA, "sandwich_norms": True, "qk_norm": True}, "hidden_activation",
        {"tie_word_embeddings": True, "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096},
    ),
)  # fmt: skip


def exported(config: ModelConfig) -> ModelConfig:
    """The same model in the fewest settings: as its weights are written, for use and not for training."""
    change: dict[str, Any] = {"num_unique_layers": None, "attention_dropout": 0.0, "residual_dropout": 0.0}
    scaling = config.rope_scaling
    if config.head_dim == config.hidden_size / config.num_attention_heads:
        change["head_dim"] = None
    if scaling is not None and scaling.type == "ntk":
        change |= {"rope_theta": scaling.stretched(config.rope_theta, config.head_size), "rope_scaling": None}
    if config.sliding_window is None or "sliding_attention" not in config.layers:
        change |= {"sliding_window": None, "layer_types": ("full_attention",), "rope_theta_sliding": None}
    elif "full_attention" not in config.layers:
        change["layer_types"] = ("sliding_attention",)
    if config.query_pre_attn_scalar == config.head_size:
        change["query_pre_attn_scalar"] = None
    return config.model_copy(update=change)


def family_of(config: ModelConfig) -> Family | None:
    """The first family whose class computes this model."""
    config = exported(config)
    return next((one for one in FAMILIES if not one.misfits(config)), None)


def document(config: ModelConfig, vocab_size: int, end_of_text: int | None) -> dict[str, Any]:
    """The config.json of a model's folder."""
    config = exported(config)
    family = family_of(config)
    ends = {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "torch_dtype": "float32"}
    if family is None:
        return {
            "architectures": [],
            "model_type": OWN,
            **config.model_dump(mode="json"),
            "vocab_size": vocab_size,
            **ends,
        }
    common = {name: getattr(config, name) for name in COMMON}
    found = {"architectures": [family.architecture], "model_type": family.model_type,
             family.activation_key: config.hidden_act, **common, "head_dim": config.head_size,
             "vocab_size": vocab_size}  # fmt: skip
    if "attention_bias" in family.free:
        found["attention_bias"] = config.attention_bias == "all"
    if "mlp_bias" in family.free:
        found["mlp_bias"] = config.mlp_bias
    for name in ("attn_logit_softcapping", "final_logit_softcapping"):
        if name in family.free:
            found[name] = getattr(config, name)
    if "query_pre_attn_scalar" in family.free:
        found["query_pre_attn_scalar"] = config.query_pre_attn_scalar or config.head_size
    if "sliding_window" in family.free:
        found |= _sliding(config, family)
    if config.rope_scaling is not None or config.rope_theta_sliding is not None or family.model_type == "gemma3_text":
        found["rope_parameters"] = _rope(config, family)
        del found["rope_theta"]
    return {**found, **ends}


def _sliding(config: ModelConfig, family: Family) -> dict[str, Any]:
    if family.model_type == "mistral":
        return {"sliding_window": config.sliding_window}
    uses = config.sliding_window is not None
    switch = {"use_sliding_window": uses} if family.model_type.startswith("qwen") else {}
    return {"sliding_window": config.sliding_window, "layer_types": config.layers, **switch}


def _rope(config: ModelConfig, family: Family) -> dict[str, Any]:
    found: dict[str, Any] = {"rope_theta": config.rope_theta, "rope_type": "default"}
    if (scaling := config.rope_scaling) is not None:
        found |= {"rope_type": scaling.type, "factor": scaling.factor}
        used = {
            "llama3": ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
            "yarn": ("original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor", "truncate"),
        }.get(scaling.type, ())
        found |= {name: getattr(scaling, name) for name in used if getattr(scaling, name) is not None}
    if family.model_type != "gemma3_text":
        return found
    local = found["rope_theta"] if config.rope_theta_sliding is None else config.rope_theta_sliding
    return {"full_attention": found, "sliding_attention": {"rope_theta": local, "rope_type": "default"}}


def read(document: Mapping[str, Any], where: str) -> tuple[ModelConfig, int]:
    """The model of a config.json, and its vocabulary.

    Raises UserError for a family, a key or a value that is not understood; `where` is said in it.
    """
    kind = document.get("model_type")
    if kind == OWN:
        fields = {name: document[name] for name in ModelConfig.model_fields if name in document}
        return ModelConfig.model_validate(fields), _vocabulary(document)
    family = next((one for one in FAMILIES if one.model_type == kind), None)
    if family is None:
        raise UserError(
            f"{where}: model_type={kind} is not known",
            f"Known are {', '.join(one.model_type for one in FAMILIES)}.",
        )
    return _Reader(family, dict(document), where).model()


class _Reader:
    """One config.json; each key that was understood is taken out of `left`."""

    def __init__(self, family: Family, document: dict[str, Any], where: str) -> None:
        for name in NEEDED:
            if name not in document:
                raise UserError(f"{where} has no key {name}", "Get the file again.")
        document = {**LACKED, **family.missing, **document}
        self.family, self.document, self.where = family, document, where
        self.left = {name for name in document if name not in OF_NO_EFFECT}

    def model(self) -> tuple[ModelConfig, int]:
        """The model; raises UserError if a key is left."""
        found: dict[str, Any] = dict(self.family.fixed)
        found |= {name: self.take(name) for name in COMMON if name in self.document and name != "rope_theta"}
        found.setdefault("num_key_value_heads", found.get("num_attention_heads"))
        found["hidden_act"] = self.activation()
        for name in ("head_dim", "mlp_bias", "attn_logit_softcapping", "final_logit_softcapping",
                     "query_pre_attn_scalar"):  # fmt: skip
            if name in self.document and (name in self.family.free or name == "head_dim"):
                found[name] = self.take(name)
        if self.take("attention_bias", False):
            found["attention_bias"] = "all"
        if (dropout := self.take("attention_dropout", 0.0)) is not None:
            found["attention_dropout"] = dropout
        found |= self.sliding(found["num_hidden_layers"]) | self.rope()
        for name, allowed in FIXED.items():
            if name in self.document and self.take(name) not in allowed:
                raise self.refused(f"{name}={self.document[name]}")
        if self.left:
            raise self.refused(", ".join(f"{name}={self.document[name]}" for name in sorted(self.left)))
        return ModelConfig.model_validate(found), _vocabulary(self.document)

    def take(self, name: str, default: Any = None) -> Any:
        """The value of a key, which is understood now."""
        self.left.discard(name)
        return self.document.get(name, default)

    def activation(self) -> Any:
        """Gemma has two keys for it, of which the newer one is meant."""
        older = self.take("hidden_act", None)
        newer = self.take("hidden_activation", None)
        found = newer or older or self.family.fixed.get("hidden_act", "silu")
        if self.family.fixed.get("hidden_act") and found == "gelu":
            found = "gelu_pytorch_tanh"  # early files of Gemma say gelu, and mean this
        return {"swish": "silu", "gelu_new": "gelu_pytorch_tanh"}.get(found, found)

    def sliding(self, layers: int) -> dict[str, Any]:
        """Window and pattern of layers."""
        window, types = self.take("sliding_window", None), self.take("layer_types", None)
        document, kind = self.document, self.family.model_type
        if window is None or (kind.startswith("qwen") and not document.get("use_sliding_window", types is not None)):
            return {}
        if "sliding_window" not in self.family.free:
            raise self.refused(f"sliding_window={window}")
        if types is None and kind == "mistral":
            types = ["sliding_attention"]
        elif types is None and kind.startswith("qwen"):
            first = document.get("max_window_layers", 28)
            types = ["sliding_attention" if layer >= first else "full_attention" for layer in range(layers)]
        elif types is None:
            every = document.get("sliding_window_pattern", 6 if kind == "gemma3_text" else 2)
            types = ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(layers)]
        return {"sliding_window": window, "layer_types": tuple(types)}

    def rope(self) -> dict[str, Any]:
        """Base and scaling, in the form of `transformers` 5 (`rope_parameters`) or of earlier ones."""
        older = self.take("rope_scaling", None) or {}
        given = self.take("rope_parameters", None) or older
        theta = self.take("rope_theta", None)
        found: dict[str, Any] = {}
        if "full_attention" in given:
            local = given.get("sliding_attention") or {}
            if local.get("rope_type", "default") != "default":
                raise self.refused(f"rope_parameters.sliding_attention={local}")
            found["rope_theta_sliding"] = local.get("rope_theta")
            given = given["full_attention"]
        elif self.family.model_type == "gemma3_text":
            theta = 1_000_000.0 if theta is None else theta
            found["rope_theta_sliding"] = self.take("rope_local_base_freq", 10_000.0)
        given = _without_equal_scales(dict(given))
        found["rope_theta"] = given.pop("rope_theta", theta if theta is not None else 10_000.0)
        kind = given.pop("rope_type", given.pop("type", "default"))
        given.pop("type", None)
        if given.get("partial_rotary_factor") in (None, 1.0):
            given.pop("partial_rotary_factor", None)
        if kind == "default" and not given:
            return found
        if kind in ("yarn", "llama3"):
            given.setdefault("original_max_position_embeddings", self.document["max_position_embeddings"])
        unknown = given.keys() - RopeScaling.model_fields.keys()
        if kind not in ("linear", "yarn", "llama3") or unknown or "rope_scaling" not in self.family.free:
            raise self.refused(f"rope_parameters={ {'rope_type': kind, **given} }")
        return found | {"rope_scaling": {"type": kind, **{k: v for k, v in given.items() if v is not None}}}

    def refused(self, what: str) -> UserError:
        """The error that names a key."""
        return UserError(
            f"{self.where}: {what} is not understood for model_type={self.family.model_type}",
            "A model that is read in part answers otherwise than its makers meant, so it is refused.",
        )


def _vocabulary(document: Mapping[str, Any]) -> int:
    found = document["vocab_size"]
    if not isinstance(found, int) or found < 1:
        raise ValueError(f"vocab_size={found}")
    return found


def _without_equal_scales(given: dict[str, Any]) -> dict[str, Any]:
    """Without DeepSeek's two scales of cosines and sines (yarn), of which one over the other is the factor.

    `transformers` uses them if both are there and not zero, and no factor is given.
    """
    scales = [given.get(name) for name in ("mscale", "mscale_all_dim")]
    if not all(scales):
        return {name: value for name, value in given.items() if not name.startswith("mscale")}
    if scales[0] != scales[1]:
        return given  # and refused
    rest = {name: value for name, value in given.items() if not name.startswith("mscale")}
    return {**rest, "attention_factor": 1.0 if rest.get("attention_factor") is None else rest["attention_factor"]}
