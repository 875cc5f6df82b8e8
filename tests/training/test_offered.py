"""The models that the recipe of fine-tuning on videos is for."""

from __future__ import annotations

import pytest

from animate.errors import TrainingError
from animate.models.variants import load_variant
from animate.training.finetune import check_offered


@pytest.mark.parametrize("name", ["tiny", "svd-v1", "svd-v2", "mimicmotion-1", "mimicmotion-1-1"])
def test_models_of_a_unet_and_a_control_network_are_trained(name: str) -> None:
    check_offered(load_variant(name))


@pytest.mark.parametrize(
    ("name", "besides"),
    [
        ("stableanimator", "face encoder"),
        ("animate-anyone", "reference UNet"),
        ("musepose", "reference UNet"),
    ],
)
def test_others_are_refused_with_what_they_have_besides(name: str, besides: str) -> None:
    with pytest.raises(TrainingError, match=rf"is not offered for {name}, which has a {besides}"):
        check_offered(load_variant(name))
