"""Every mistake in a configuration is named with its key, its value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm.config import RunConfig, compose, from_yaml, to_yaml
from llm.config.sections import MetricRule, Section
from llm.errors import UserError
from scripts.reference.meanings import describe


def test_the_defaults_compose_and_survive_yaml():
    config = compose()
    assert from_yaml(to_yaml(config)) == config


def test_a_group_and_a_value_are_overridden():
    config = compose(["model=small", "training.optimizer.lr=1e-3"])
    assert config.model.hidden_size == 512
    assert config.training.optimizer.lr == 1e-3


RAMP = ["training.batch.sequence_length=256", "training.batch.tokens=8192", "training.batch.micro_batch_size=1"]
"""A batch of 32 sequences on two ranks."""


@pytest.mark.parametrize("name", ["7", "2026-11-24", "on"])
def test_a_name_that_yaml_would_read_as_something_else_is_a_name(name: str):
    assert compose([f"run.name={name}"]).run.name == name
    assert compose([f"run.name={name}", "run.name=null"]).run.name is None


def test_a_floor_of_a_domain_is_a_key_of_its_own():
    assert compose(["gate.metrics.bits_per_byte.domain_floors.code=2.5"]).gate.metrics["bits_per_byte"] == MetricRule(
        margin=0.02, floor=3.0, domain_floors={"code": 2.5}
    )


def test_a_rule_for_another_metric_joins_those_that_are_there_and_a_mapping_replaces_them():
    joined = compose(["gate.metrics.accuracy.margin=0.1"]).gate.metrics
    assert joined == {"bits_per_byte": MetricRule(margin=0.02, floor=3.0), "accuracy": MetricRule(margin=0.1)}
    assert compose(["gate.metrics={accuracy: {margin: 0.1}}"]).gate.metrics == {"accuracy": MetricRule(margin=0.1)}


def test_a_later_value_wins_over_a_group():
    assert compose(["model.hidden_size=128", "model=small"]).model.hidden_size == 128


@pytest.mark.parametrize("path", ["texts/*.txt", "a b/c", "x,y", "{a}", "k: v", "a=b"])
def test_a_path_needs_no_quoting(path: str):
    assert compose([f"data.path={path}"]).data.path == path


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.seeed=1", r"unknown config key training.seeed\n  Did you mean training.seed\?"),
        (
            "training.optimizer.lrr=1",
            r"unknown config key training.optimizer.lrr\n  Did you mean training.optimizer.lr\?",
        ),
        ("trainign.lr=1", r"unknown config key trainign.lr\n  Did you mean training\?"),
        ("model=smal", r"there is no model named smal\n  Did you mean small\?"),
        ("training.optimizer.lr=abc", r"training.optimizer.lr='abc' is not allowed: input should be a valid number"),
        ("training.optimizer.lr=-1", r"training.optimizer.lr=-1 is not allowed: input should be greater than 0"),
        ("training.parallel.backend.name=jax", r"there is no choice of that name\n  Allowed: deepspeed, fsdp, torch"),
        ("training.batch=1", r"training.batch is a section, not a value"),
        ("fast", r"fast is not an override\n  Write key=value"),
        ("training.length.steps=null", r"exactly one must be given"),
        ("model.num_attention_heads=3", r"does not divide model.hidden_size=\d+\n  allowed: 1, 2, 4"),
        ("model.num_key_value_heads=3", r"does not divide model.num_attention_heads"),
        ("data.test_fraction=0", r"leave an empty split"),
        (
            "training.optimizer.lr.foo=3",
            r"unknown config key training.optimizer.lr.foo\n  training.optimizer.lr is a value",
        ),
        ("=config", r"=config is not an override"),
        ("gate.metrics..margin=1", r"a part of the key gate.metrics..margin is empty"),
        (".model=small", "is empty"),
        ("data.text_field=", r"data.text_field=.. is not allowed: string should have at least 1 character"),
        ("data.path=", r"data.path='' is not allowed"),
        ("storage.uri=", r"storage.uri='' is not allowed"),
        ("data.path=\udcff", r"is not UTF-8"),
        ("serving.max_slots=0", r"serving.max_slots=0 is not allowed: input should be greater than 0"),
        ("serving.http_port=8010", r"serving.http_port is no longer a setting\n  Write `gristmill serve --http-port"),
        ("serving.model_name=../x", r"serving.model_name='../x' is not allowed"),
        ("serving.model_name=", r"serving.model_name='' is not allowed"),
        ("export.onnx=[int4]", r"serving.precision=fp32 is not among export.onnx=\['int4'\]"),
        ("tokenizer.vocab_size=704", r"tokenizer.vocab_size=704 is as wide as a layer .*model.intermediate_size=704\)"),
        ("model.hidden_size=4096", r"tokenizer.vocab_size=4096 is as wide as a layer .*model.hidden_size=4096\)"),
        (
            "model.hidden_size=8192",
            r"tokenizer.vocab_size=4096 is as wide as a layer .*model.num_key_value_heads=2 of 2048\)",
        ),
        (
            "model.hidden_size=96",
            r"a head of 24 \(model.hidden_size=96 over model.num_attention_heads=4\) cannot be exported: ONNX Runtime"
            r" needs a multiple of 16\n  allowed with this width: model.num_attention_heads=2 or 6\.",
        ),
        (
            "model.hidden_size=40",
            r"a head of 10 .*\n  Choose model.hidden_size as a multiple of 16 times model.num_att",
        ),
        ("run.name=a/b", r"run.name='a/b' is not allowed"),
        ("training.optimizer.beta1=1.0", r"training.optimizer.beta1=1.0 is not allowed: input should be less than 1"),
        (
            "training.length.minutes=.inf",
            r"training.length.minutes=inf is not allowed: input should be a finite number",
        ),
        (
            "gate.metrics.bits_per_byte.margn=1",
            r"gate.metrics.bits_per_byte.margn\n  Did you mean gate.metrics.NAME.margin",
        ),
        ("gate.metrics.accuracy.floor=1", r"gate.metrics.accuracy.margin must be given"),
        ("gate.metrics={}", r"gate.metrics={} is not allowed: dictionary should have at least 1 item"),
        ("gate.max_bits_per_byte=9", r"has a new name\n  Write gate.metrics.bits_per_byte.floor."),
        ("evaluation.sample_tokens=8", r"evaluation.sample_tokens is no longer a setting\n  A sample has 64 tokens"),
        ("evaluation.bootstrap_resamples=1", r"input should be greater than or equal to 1000"),
    ],
)
def test_a_mistake_names_the_key_the_value_and_what_is_allowed(override: str, message: str):
    with pytest.raises(UserError, match=message):
        compose([override])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["training.batch.sequence_length=256", "training.batch.tokens=8192", "training.batch.micro_batch_size=6"],
            r"(?s)micro_batch_size=6 does not divide.*32 sequences of 256; 2 ranks -> 16.*allowed: 1, 2, 4, 8, 16",
        ),
        (
            ["training.batch.sequence_length=256", "training.batch.tokens=8192", "training.parallel.processes=3"],
            r"processes=3 do not divide the global batch of 32 sequences\n  allowed: 1, 2, 4, 8, 16, 32",
        ),
        (
            ["training.batch.sequence_length=256", "training.batch.tokens=1000"],
            r"is not a multiple of training.batch.sequence_length=256\n  nearest: 768",
        ),
        (["model.max_position_embeddings=64"], r"is longer than the model's context"),
        ([*RAMP, "training.batch.ramp=[{tokens: 1000, steps: 4}]"], r"ramp\[0\]\.tokens=1000 is not a multiple"),
        (
            [*RAMP, "training.batch.ramp=[{tokens: 256, steps: 4}]"],
            r"divide the global batch of 1 .*\n.*batch\.ramp\[0\]",
        ),
        (
            [*RAMP, "training.batch.ramp=[{tokens: 512, steps: 4}]", "training.batch.micro_batch_size=2"],
            r"(?s)micro_batch_size=2 does not divide.*global batch 512 tokens",
        ),
        (
            [*RAMP, "training.batch.ramp=[{tokens: 2048, steps: 4}, {tokens: 1024, steps: 4}]"],
            r"ramp\[0\]\.tokens=2048 is not below the batch after it, 1024 tokens",
        ),
        ([*RAMP, "training.batch.ramp=[{tokens: 8192, steps: 4}]"], r"not below the batch after it, 8192 tokens"),
        ([*RAMP, "training.batch.ramp=[{tokens: 512, steps: 650}]"], r"has 650 steps, and training.length.steps=650"),
        (
            [
                *RAMP,
                "training.batch.ramp=[{tokens: 512, steps: 4}]",
                "training.length.steps=null",
                "training.length.minutes=2",
            ],
            r"ramp with training.length.minutes=2",
        ),
        (
            [
                *RAMP,
                "training.batch.ramp=[{tokens: 512, steps: 4}]",
                "training.parallel.pipeline=2",
                "training.parallel.backend.name=fsdp",
                "model.tie_word_embeddings=false",
            ],
            r"ramp with training.parallel.pipeline=2",
        ),
    ],
)
def test_sections_that_do_not_fit_together_are_refused(overrides: list[str], message: str):
    with pytest.raises(UserError, match=message):
        compose(overrides)


def test_a_document_with_an_unknown_key_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown config key training.learning_rate\n"):
        from_yaml("training: {learning_rate: 1}")


def test_a_document_that_is_not_yaml_is_refused():
    with pytest.raises(UserError, match="not YAML"):
        from_yaml("a: [")


def test_every_field_says_what_it_means():
    def fields(section: type, prefix: str = ""):
        for name, field in section.model_fields.items():
            yield prefix + name, field.description
            if hasattr(field.annotation, "model_fields"):
                yield from fields(field.annotation, f"{prefix}{name}.")

    describe(Section)
    assert [name for name, description in fields(RunConfig) if not description] == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["gate.metrics.bits_per_byte.margin.x=1"],
            r"^gate.metrics.bits_per_byte.margin.x=1 cannot be set\n  gate.metrics.bits_per_byte.margin is 0.02,"
            " and has no keys of its own",
        ),
        (
            ["gate.metrics=5", "gate.metrics.x.margin=1"],
            r"^gate.metrics.x.margin=1 cannot be set\n  gate.metrics is 5",
        ),
        (["gate.metrics=[1]", "gate.metrics.x.margin=1"], r"gate.metrics is \[1\], and has no keys of its own"),
        (["gate.metrics={x: null}", "gate.metrics.x.margin=1"], r"gate.metrics.x is null, and has no keys of its own"),
        (["training.schedule.height=5", "training.schedule.height.x=1"], r"training.schedule.height is 5, and has no"),
    ],
)
def test_a_key_below_a_value_is_refused(overrides: list[str], message: str):
    with pytest.raises(UserError, match=message):
        compose(overrides)


@pytest.mark.parametrize(
    "read",
    [
        lambda: compose(["gate.metrics={bits_per_byte: {margin: 0.1}, bits_per_byte: {margin: 0.5}}"]),
        lambda: compose(["training.callbacks=[{name: a, name: b}]"]),
        lambda: from_yaml("training: {seed: 1, seed: 2}"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(read: Callable[[], object]):
    with pytest.raises(UserError, match=r"^(bits_per_byte|name|seed) is given more than once in one mapping\n"):
        read()
