"""A published still model is fetched by its name, found, and makes pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animate.cli.main import main
from animate.errors import ModelError
from animate.models.components import build_control_network
from animate.models.stills import load_still_design, named_model, usual_model
from tests.models.fake_hub import FakeHub, use_hub
from tests.toy_still import toy_pipeline

NAME = "controlnext-sd15"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with a base of toy size under the published file names, and one checkpoint."""
    design = load_still_design(NAME)
    torch.manual_seed(0)
    pipe = toy_pipeline(tmp_path)
    pipe.save_pretrained(tmp_path / "base", variant="fp16", safe_serialization=True)
    (tmp_path / "words" / "special_tokens_map.json").write_text("{}")
    network = build_control_network(design.controlnext)
    weights = {name: value.half() for name, value in network.state_dict().items()}
    save_file(weights, tmp_path / "control.safetensors")
    files = {}
    for file in design.files("pose"):
        local = tmp_path / "base" / file.path
        if file.path.startswith("tokenizer/") and not local.is_file():
            local = tmp_path / "words" / Path(file.path).name  # the vocabulary as published
        if file.path.endswith(("controlnet.safetensors", "/unet.safetensors")):
            local = tmp_path / "control.safetensors"
        assert file.source is not None
        files[f"{file.source.repository}/{file.path}"] = local.read_bytes()
    fake = FakeHub(files=files)
    use_hub(fake, tmp_path / "hub", monkeypatch)
    yield fake
    fake.stop()


def test_a_name_is_fetched_found_and_makes_a_picture(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=f"cnx models fetch {NAME}"):
        named_model(NAME, controlled=True)
    assert main(["models", "fetch", NAME, "--accept-licence", NAME]) == 0
    assert "OpenRAIL" in "".join(capsys.readouterr())
    model = named_model(NAME, controlled=True)
    assert model.controlnext is not None
    assert model.controlnext.name == "controlnet.safetensors"
    assert model.unet is not None
    assert usual_model(controlled=True).design.name == NAME
    output = tmp_path / "a.png"
    command = [
        "still", "--model", NAME, "--prompt", "a", "--size", "64x64", "--steps", "1",
        "--device", "cpu", "--quiet", "--output", str(output),
    ]  # fmt: skip
    assert main(command) == 0
    assert output.is_file()
    # Once here, nothing is asked of the hub any more.
    count = len(hub.requests)
    assert (
        main([*command, "--device", "cpu", "--quiet", "--overwrite", "--output", str(output)]) == 0
    )
    assert len(hub.requests) == count


def test_a_file_that_the_hub_does_not_have_is_named(
    hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(file for file in hub.files if file.endswith("vae/config.json"))
    del hub.files[name]
    assert main(["models", "fetch", NAME, "--accept-licence", NAME]) == 2
    assert "vae/config.json" in capsys.readouterr().err
