"""Pretraining: raw text to a served model.

    ingest ─ validate ─ tokenizer ─ tokenize ─ train ─ evaluate ─ gate ─ export ─ register ─┬─ promote ─ deploy
                                                                                            └─ (only on PASS)

The report is the exit handler: it is written whatever happened. Train, gate and promote are never cached by KFP;
what need not be done again is found in the store, whose recipes cannot be stale.
"""

from kfp import dsl

from components.deploy import deploy
from components.evaluate import evaluate
from components.export import export
from components.gate import gate
from components.ingest import ingest
from components.promote import promote
from components.register import register
from components.report import report
from components.tokenize import tokenize
from components.tokenizer import tokenizer
from components.train import train
from components.validate import validate


@dsl.pipeline(name="pretrain", description="Raw text to a served model, every seam checked.")
def pretrain(config: str) -> None:
    """Compose the components; `config` is the run's resolved configuration, one YAML document."""
    with dsl.ExitHandler(report(config=config), name="reported"):
        corpus = ingest(config=config).outputs["corpus"]
        validating = validate(config=config, corpus=corpus)
        vocabulary = tokenizer(config=config, corpus=corpus).after(validating).outputs["vocabulary"]
        shards = tokenize(config=config, corpus=corpus, vocabulary=vocabulary).outputs["shards"]
        training = train(config=config, shards=shards, vocabulary=vocabulary)
        training.set_caching_options(False)
        checkpoint = training.outputs["checkpoint"]
        scores = evaluate(config=config, checkpoint=checkpoint, vocabulary=vocabulary, corpus=corpus).outputs["scores"]
        judging = gate(config=config, scores=scores, corpus=corpus)
        judging.set_caching_options(False)
        exporting = export(config=config, checkpoint=checkpoint, vocabulary=vocabulary, corpus=corpus)
        exporting.after(judging)
        model = exporting.outputs["model"]
        registering = register(
            config=config,
            corpus=corpus,
            verdict=validating.outputs["verdict"],
            vocabulary=vocabulary,
            shards=shards,
            checkpoint=checkpoint,
            scores=scores,
            judgement=judging.outputs["judgement"],
            model=model,
        )
        registering.set_caching_options(False)
        registration = registering.outputs["registration"]
        # A whole number named Output: KFP's local runner (2.17) resolves no other name in a condition, and takes what
        # it cannot resolve for False.
        with dsl.If(judging.outputs["Output"] == 1, name="passed"):
            promoting = promote(config=config, registration=registration, judgement=judging.outputs["judgement"])
            promoting.set_caching_options(False)
            deploying = deploy(config=config, registration=registration, model=model)
            deploying.after(promoting)
            deploying.set_caching_options(False)
