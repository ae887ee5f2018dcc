import torch

from habla_ml.training.base_model import resolve_base_model
from habla_ml.training.model_folder import prepare_trainable_model
from habla_ml.training.recipe import Recipe


def make_recipe(**changes: object) -> Recipe:
    settings = {"name": "x", "base_model": "package:demo/base_model", "learning_rate": 1e-3, "max_steps": 1}
    return Recipe.model_validate({**settings, **changes})


def test_parts_encoder_trains_the_encoder_and_nothing_of_the_decoder():
    only = make_recipe(parts="encoder")
    model = prepare_trainable_model(only, resolve_base_model(only).folder)
    assert all(each.requires_grad for name, each in model.model.encoder.named_parameters() if "embed" not in name)
    assert not any(each.requires_grad for each in model.model.decoder.parameters())
    assert not model.proj_out.weight.requires_grad


def test_transformers_masks_nothing_since_the_clips_have_masks_of_their_own():
    hidden = make_recipe(spec_augment={"mask_time_prob": 0.5})
    model = prepare_trainable_model(hidden, resolve_base_model(hidden).folder)
    features = torch.ones(2, model.config.num_mel_bins, 600)
    assert torch.equal(model.train().model._mask_input_features(features.clone()), features)
