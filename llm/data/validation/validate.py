"""Validate: Great Expectations judges the corpus's statistics by a suite that the user can edit.

It judges the small table of `llm.data.statistics`, one row for each split and domain, not the documents. For a few
million rows Great Expectations takes half a minute and gigabytes, polars a second. The verdict is a product, good or
bad: table, result and Data Docs can be read, and a suite that failed fails again without new work.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm.config import ValidationConfig, deciding, nearest
from llm.data.statistics import statistics
from llm.data.validation.data_docs import write_data_docs
from llm.data.validation.suite import read_suite, suite_path
from llm.errors import UserError, ValidationFailed
from llm.runs.event_kinds import Progress
from llm.runs.events import EventLog
from llm.storage import Manifest, Recipe, Store
from llm.storage.products import ValidationCounts

if TYPE_CHECKING:
    import polars as pl

ROW_NAMES = ("split", "domain")
SHOWN_ROWS = 5


def validate(config: ValidationConfig, corpus: Manifest, store: Store, log: EventLog) -> Manifest:
    """Judge a corpus: `statistics.parquet`, `result.json`, `data_docs/`, and the verdict in the counts.

    Raises UserError for a suite that is missing or not one, and ValidationFailed, after the product is committed,
    naming every expectation that failed: the column, what was expected, what was observed.
    """
    path = suite_path(config.suite)
    suite = read_suite(path)
    recipe = Recipe(
        "validate", deciding(config), [corpus], code=(__name__,), inputs={"suite": suite}, libraries=("pandas",)
    )
    done = store.find(recipe)
    if done is None:
        log.emit(Progress(step="validate", message="statistics of the corpus", done=0, total=2))
        table = statistics(corpus)
        log.emit(Progress(step="validate", message="Great Expectations", done=1, total=2))
        with store.stage("validation", recipe) as stage:
            result = _judge(table, suite, path, stage.path / "data_docs")
            table.write_parquet(stage.path / "statistics.parquet")
            (stage.path / "result.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
            failed = [_describe(one) for one in result["results"] if not one["success"]]
            done = stage.commit(
                ValidationCounts(success=result["success"], expectations=len(result["results"]), failed=failed)
            )
        log.emit(Progress(step="validate", message="Great Expectations", done=2, total=2))
    if not ValidationCounts.of(done).success:
        raise ValidationFailed(*_explain(done, corpus, path))
    return done


def _judge(table: pl.DataFrame, suite: Mapping[str, Any], path: Path, data_docs: Path) -> dict[str, Any]:
    """Great Expectations' result as plain data, without times and paths; writes the Data Docs."""
    with _quietly():
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        expectations = _build(suite, path, table.columns)
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        asset = context.data_sources.add_pandas("corpus").add_dataframe_asset("statistics")
        batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table.to_pandas()})
        result = batch.validate(
            expectations,
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": list(ROW_NAMES)},
        )
        result.results.sort(key=lambda one: json.dumps(one.expectation_config.to_json_dict(), sort_keys=True))
        for one in result.results:
            _check_evaluated(one, path)
        result.meta = {"great_expectations_version": gx.__version__}  # the times in it would change the product's id
        write_data_docs(data_docs, expectations, result)
        document: dict[str, Any] = json.loads(json.dumps(result.to_json_dict(), default=lambda number: number.item()))
        return document


def _build(suite: Mapping[str, Any], path: Path, columns: list[str]) -> Any:
    """The suite as Great Expectations' object; raises UserError for what it does not know."""
    from great_expectations import ExpectationSuite
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    known = list_registered_expectation_implementations()
    for one in suite["expectations"]:
        if one["type"] not in known:  # Great Expectations drops it in silence, and the rest passes
            raise UserError(f"suite {path}: there is no expectation {one['type']}", nearest(one["type"], known))
        column = one.get("kwargs", {}).get("column")
        if column is not None and column not in columns and one["type"] != "expect_column_to_exist":
            raise UserError(
                f"suite {path}: {one['type']} names column {column}, which the statistics do not have",
                nearest(str(column), columns),
            )
    try:
        own = copy.deepcopy(dict(suite))  # Great Expectations changes its arguments, and ours is part of the recipe
        return ExpectationSuite(name=str(own["name"]), expectations=own["expectations"], meta=own.get("meta"))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise UserError(f"suite {path} has an expectation that is not complete or not allowed", *problems) from error
    except (GreatExpectationsError, TypeError, ValueError) as error:
        raise UserError(f"suite {path} is not one that Great Expectations knows: {error}") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Print no progress bars and no deprecation notes."""
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_evaluated(one: Any, path: Path) -> None:
    """Raise UserError for an expectation that raised an exception: a condition or value does not fit its column."""
    info = one.exception_info
    nested = [info] if "raised_exception" in info else list(info.values())
    if messages := sorted({str(part["exception_message"]) for part in nested if part["raised_exception"]}):
        raise UserError(f"suite {path}: {one.expectation_config.type} cannot be evaluated", *messages)


def _describe(one: Mapping[str, Any]) -> str:
    """A failed expectation in a line: the column, what was expected, what was observed and where."""
    config = one["expectation_config"]
    kwargs = {key: value for key, value in config["kwargs"].items() if key not in ("batch_id", "condition_parser")}
    column = kwargs.pop("column", None) or "the table"
    condition = kwargs.pop("row_condition", None)
    where = f" where {_condition(condition)}" if condition else ""
    arguments = ", ".join(f"{key}={value!r}" for key, value in sorted(kwargs.items()) if value is not None)
    return f"{column}{where}: {config['type']}({arguments}); observed {_observed(one)}"


def _condition(condition: Any) -> str:
    return str(condition.get("pass_through_filter", condition)) if isinstance(condition, dict) else str(condition)


def _observed(one: Mapping[str, Any]) -> str:
    result, column = one["result"], one["expectation_config"]["kwargs"].get("column")
    if rows := result.get("unexpected_index_list"):
        shown = [
            f"{row.get(column)!r} ({', '.join(f'{name} {row[name]}' for name in ROW_NAMES if name in row)})"
            for row in rows[:SHOWN_ROWS]
        ]
        more = [f"{len(rows) - SHOWN_ROWS} more rows"] if len(rows) > SHOWN_ROWS else []
        return ", ".join(shown + more)
    seen = [] if result.get("observed_value") is None else [repr(result["observed_value"])]
    missing = [f"no {value!r}" for value in result.get("partial_missing_list") or ()]
    return ", ".join(seen + missing) or "nothing that fits"


def _explain(done: Manifest, corpus: Manifest, path: Path) -> list[str]:
    verdict = ValidationCounts.of(done)
    return [
        f"corpus {corpus.id} did not pass suite {path.stem}:"
        f" {len(verdict.failed)} of {verdict.expectations} expectations failed",
        *verdict.failed,
        f"Data Docs: {done.folder / 'data_docs' / 'index.html'}",
        f"Clean the data and run again, or change what is expected in {path}.",
    ]
