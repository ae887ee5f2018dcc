"""Programs for newer systems: the decoder of iOS 18 that keeps its caches as states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from habla_ml.errors import ExportError
from habla_ml.export.coreml.archive import COREML, write_archive
from habla_ml.export.coreml.contract import find_contract_problems
from habla_ml.export.coreml.process import run_conversion
from habla_ml.export.coreml.target import COREML_TARGETS
from habla_ml.runtimes.interface import TARGET_POSITIONS, ModelShape, build_interfaces
from habla_ml.runtimes.mil_interpreter import load_program
from habla_ml.settings.models import ExportSettings
from habla_ml_tests.export.coreml.conftest import ConvertedCheckpoint
from habla_ml_tests.export.coreml.test_archive import read_archive_manifest
from habla_ml_tests.testing.export_checkpoint import ignore_progress

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stateful_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ConvertedCheckpoint:
    folder = tmp_path_factory.mktemp("stateful") / "converted"
    conversion = run_conversion(tiny_checkpoint, folder, 900.0, ignore_progress, target="iOS18-stateful")
    return ConvertedCheckpoint(folder, conversion, ())


def test_a_stateful_decoder_computes_what_the_other_one_does(
    converted_model: ConvertedCheckpoint, stateful_model: ConvertedCheckpoint
) -> None:
    """Both conversions decoded eight tokens; the caches of one were states."""
    with_states, without = stateful_model.conversion.parity, converted_model.conversion.parity
    assert with_states.same_argmax == without.same_argmax == 8
    assert with_states.largest_logit_difference == pytest.approx(without.largest_logit_difference, abs=0.002)


def test_the_states_carry_one_token_to_the_next(stateful_model: ConvertedCheckpoint) -> None:
    decoder = load_program(stateful_model.folder / "TextDecoder.mlpackage")
    interface = build_interfaces(ModelShape(80, 64, 2, 1865), is_stateful=True)["TextDecoder"]
    torch.manual_seed(5)
    inputs = {each.name: torch.randn(each.shape).half().float() for each in interface.inputs}
    inputs |= {"input_ids": torch.tensor([40]), "cache_length": torch.tensor([1])}
    inputs |= {
        "kv_cache_update_mask": torch.eye(TARGET_POSITIONS)[1:2],
        "decoder_key_padding_mask": torch.zeros(1, 448),
    }
    text, other = ({each.name: torch.zeros(each.shape) for each in interface.states} for _ in range(2))
    first = decoder({**inputs, **text})["logits"]
    changed = text["key_cache"].abs().amax(dim=(0, 1, 2)).nonzero().flatten().tolist()
    assert changed == [1], "only the token's own position is written"
    inputs["kv_cache_update_mask"] = torch.eye(TARGET_POSITIONS)[2:3]
    assert not torch.equal(decoder({**inputs, **text})["logits"], first)
    inputs["kv_cache_update_mask"] = torch.eye(TARGET_POSITIONS)[1:2]
    assert torch.equal(decoder({**inputs, **other})["logits"], first), "a new state begins a new text"


def test_contract_and_manifest_state_the_system_and_the_states(stateful_model: ConvertedCheckpoint) -> None:
    folder, checkpoint = stateful_model.folder, stateful_model.checkpoint
    assert find_contract_problems(folder, checkpoint, COREML_TARGETS["iOS18-stateful"]) == []
    problems = find_contract_problems(folder, checkpoint, COREML_TARGETS["iOS18"])
    assert "TextDecoder: input key_cache is missing." in problems
    assert "TextDecoder: state key_cache is not in the contract." in problems
    made = write_archive(folder, stateful_model.conversion, folder / "archive.zip", {}, ignore_progress)
    manifest = read_archive_manifest(made.path)
    assert (manifest["specification_version"], manifest["minimum_ios"]) == (9, "18.0")
    assert manifest["has_stateful_decoder"] is True


def test_the_settings_choose_among_the_targets() -> None:
    for each in COREML.targets:
        settings = ExportSettings.model_validate({"coreml_target": each})
        assert COREML.build_options(settings).target == each
    with pytest.raises(ExportError, match="choose one of iOS16, iOS17, iOS18, iOS18-stateful"):
        COREML.build_options(ExportSettings(), target="iOS15")
