"""The asset `recipe_sweep`: a sweep in its own process, shown in the UI, that leaves no version."""

from pathlib import Path

import pytest
import yaml

from habla_ml.defs.jobs import SWEEP
from habla_ml.training.recipe import load_recipe
from habla_ml_tests.defs.conftest import DagsterDeployment
from habla_ml_tests.training.conftest import tiny_base

__all__ = ["tiny_base"]


@pytest.fixture
def tree(tree: dict, tmp_path: Path) -> dict:
    space = {"keys": {"label_smoothing": [0.0, 0.1, 0.2]}, "trials": 2}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    return {**tree, "training": {**tree["training"], "search_space": "space.yaml"}}


@pytest.fixture
def recipe(recipe: dict, tiny_base: Path) -> dict:
    return {**recipe, "base_model": str(tiny_base), "evaluate_every_steps": 2, "threads": 1}


@pytest.mark.slow
def test_a_sweep_has_a_table_a_plot_and_a_recipe_and_no_version_grows_from_it(ingested: DagsterDeployment) -> None:
    assert ingested.materialize("splits").success
    before = ingested.tick("corpus_growth").run_requests
    job = ingested.definitions.resolve_job_def(SWEEP)
    result = job.execute_in_process(instance=ingested.instance, raise_on_error=False)
    assert result.success
    shown = ingested.metadata("recipe_sweep")
    assert shown["finished trials"] == 2
    assert "| validation WER |" in shown["trials"]
    assert shown["validation WER by trial"].startswith("![validation WER by trial, %](<data:image/svg")
    assert load_recipe(Path(shown["best recipe"])).name == "short-sweep"
    assert list(ingested.lake().list_pointers("models/")) == []
    after = ingested.tick("corpus_growth").run_requests
    assert [each.partition_key for each in after] == [each.partition_key for each in before] == ["v1"]
