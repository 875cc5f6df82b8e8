"""Licences in one word, and the acceptance of restricted ones before any byte comes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from animate.cli.main import main
from animate.errors import ModelError
from animate.models import hub
from animate.models.components import build_control_network, build_network, without_memory
from animate.models.config import Source
from animate.models.licences import code_licence, strictest, use_of, weights_use
from animate.models.listing import listing_of
from animate.models.stills import still_design_names
from animate.models.store import ModelFile
from animate.models.variants import (
    ModelVariant,
    configs_folder,
    list_variants,
    load_variant,
    shipped_config,
    variant_names,
)
from tests.models.fake_hub import FakeHub, use_hub

WEIGHTS = bytes(range(256)) * 100


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("Apache-2.0", "commercial"),
        ("MIT", "commercial"),
        ("CreativeML OpenRAIL-M", "commercial"),
        ("Stability AI Community License (some)", "limited"),
        ("academic, research and education only, with the Apache License", "non-commercial"),
        ("CC-BY-NC-4.0", "non-commercial"),
        ("code under MIT, networks for non-commercial use", "non-commercial"),
        ("ask the author", "unstated"),
    ],
)
def test_a_licences_name_says_its_use(name: str, use: str) -> None:
    assert use_of(name) == use
    assert use_of(name, commercial=True) == "commercial"


def test_the_strictest_licence_holds_for_all() -> None:
    assert strictest(["commercial", "limited", "commercial"]) == "limited"
    assert strictest(["limited", "non-commercial"]) == "non-commercial"
    assert strictest([]) == "unstated"
    assert weights_use(load_variant("svd-v2")) == "limited"
    assert weights_use(load_variant("mimicmotion-1")) == "non-commercial"
    assert weights_use(load_variant("stableanimator")) == "non-commercial"  # its face networks


@pytest.mark.parametrize("variant", list_variants(), ids=variant_names())
def test_every_shipped_variant_states_licences_sizes_and_memory(variant: ModelVariant) -> None:
    listing = listing_of(variant)
    assert listing.use != "unstated"
    assert listing.code.use != "unstated"
    assert listing.peak_memory
    if any(file.source for file in variant.files()):
        assert listing.download_bytes
        assert listing.download_bytes > 10**9
        assert all(licence.url or not licence.fetched for licence in listing.weights)
    assert code_licence(variant).name in "\n".join(listing.lines())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub(files={"someone/model/net.bin": WEIGHTS})
    use_hub(fake, tmp_path / "hub", monkeypatch)
    yield fake
    fake.stop()


def test_a_restricted_licence_is_accepted_before_anything_is_asked(server: FakeHub) -> None:
    licence = "for academic research only"
    source = Source(repository="someone/model", revision="main", licence=licence)
    files = [ModelFile(path="net.bin", source=source)]
    with pytest.raises(ModelError, match=r"non-commercial use.*--accept-licence someone/model"):
        hub.fetch_files(files)
    assert server.requests == []
    with pytest.raises(ModelError, match="nothing was fetched"):
        hub.fetch_files(files, accepted=["other/model"])
    [path] = hub.fetch_files(files, accepted=["someone/model"])
    assert path.read_bytes() == WEIGHTS
    assert hub.fetch_files(files) == (path,)  # it is here, nothing is fetched


def test_the_command_says_the_licence_and_takes_the_variants_name(
    server: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (configs_folder() / "models" / "mimicmotion-1.yaml").read_text()
    text = text.replace("tencent/MimicMotion", "someone/model").replace("gated: true", "")
    text = text.replace("MimicMotion_1.pth", "net.bin")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "variant.yaml").write_text(text)
    assert main(["models", "fetch", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "academic, research and education only" in said
    assert ", no commercial use: net.bin of someone/model" in said
    assert "--accept-licence someone/model" in said
    assert server.requests == []
    assert main(["models", "fetch", str(folder), "--accept-licence", "someone/modle"]) == 2
    assert "did you mean 'someone/model'" in capsys.readouterr().err
    # Accepted as a whole: now the hub is asked, which has no base.
    assert main(["models", "fetch", str(folder), "--accept-licence", "mimicmotion-1"]) == 2
    assert "accept-licence" not in capsys.readouterr().err
    assert server.requests


def test_the_list_is_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    text = capsys.readouterr().out
    assert "memory    12.1 GiB" in text
    assert "weights   non-commercial, together" in text
    assert main(["models", "list", "--json"]) == 0
    listings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [listing["name"] for listing in listings] == variant_names()
    v2 = next(listing for listing in listings if listing["name"] == "svd-v2")
    assert v2["use"] == "limited"
    assert v2["weights"][0]["gated"] is True
    assert v2["download_bytes"] == pytest.approx(9.03e9, rel=0.01)
    assert "for stills: tiny-still, controlnext-sd15" in text
    assert main(["models", "list", "--kind", "still"]) == 0
    text = capsys.readouterr().out
    assert "weights   commercial: Apache-2.0; the folder of tiny-still" in text
    assert "controlnext-sdxl:depth" in text
    assert main(["models", "list", "--kind", "still", "--json"]) == 0
    designs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [design["name"] for design in designs] == still_design_names()
    assert designs[0]["missing"] == 0
    assert main(["models", "list", "--kind", "metric", "--json"]) == 0
    networks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"lpips", "fid"} <= {network["measure"] for network in networks}


@pytest.mark.slow
def test_stated_sizes_are_those_of_the_networks() -> None:
    counts = {}
    for name in ("unet", "vae", "image_encoder"):
        config = json.loads(shipped_config(name).read_text())
        network = without_memory(lambda name=name, config=config: build_network(name, config))
        counts[name] = sum(value.numel() for value in network.state_dict().values())
    variant = load_variant("svd-v2")
    control = without_memory(lambda: build_control_network(variant.control_network))
    counts["controlnext"] = sum(value.numel() for value in control.state_dict().values())
    for name, count in counts.items():
        file = variant.file(variant.components[name].weights[0])
        assert file.source is not None
        assert file.source.bytes[file.path] == pytest.approx(4 * count, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", variant_names())
def test_stated_memory_is_the_planners(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    variant = load_variant(name)
    window = str(variant.defaults.window)
    command = ["plan", "--model", name, "--frames", window, "--memory", "300GiB"]
    assert main([*command, "--json-progress"]) == 0
    peaks = json.loads(capsys.readouterr().out)["peaks"]
    assert variant.peak_memory == pytest.approx(max(peaks.values()), rel=0.02)
