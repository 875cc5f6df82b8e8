"""Model variants as data: what is shipped, what folders may say, and the words for faults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from animate.errors import ModelError
from animate.models import variants
from animate.models.config import Component
from animate.models.store import ModelFile
from animate.models.variants import (
    check_model_inside,
    load_variant,
    read_variant,
    resolve,
    variant_names,
)
from animate.request.presets import configs_folder
from animate.request.values import Guidance, Size
from tests.toy import toy_variant

PUBLISHED = ("svd-v1", "svd-v2")


def write(folder: Path, **changes) -> Path:
    """A variant file made of the toy's, with some top-level settings changed or (None) left out."""
    values = {**toy_variant().to_dict(), **changes}
    folder.mkdir(exist_ok=True)
    path = folder / "variant.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))
    return path


def test_the_published_variants_state_the_published_constants():
    first, second = (load_variant(name) for name in PUBLISHED)
    assert variant_names()[0] == "tiny"
    assert set(variant_names()) >= set(PUBLISHED)
    assert (first.sampling.window, first.sampling.overlap) == (14, 4)
    assert (second.sampling.window, second.sampling.overlap) == (24, 6)
    assert (first.sampling.guidance, second.sampling.guidance) == (
        Guidance(3.5, 3.5),
        Guidance(3, 3),
    )
    assert (first.sizes, second.sizes) == ((Size(512, 768),), (Size(576, 1024),))
    assert (first.injection.hook_point, first.injection.weight) == ("mid-input", 1.3)
    assert (second.injection.hook_point, second.injection.weight) == ("down", 0.2)
    assert (first.injection.halves, first.injection.unconditional) == ("both", 0.65)
    assert (second.injection.halves, second.injection.unconditional) == ("conditional", None)
    for variant in (first, second):
        assert tuple(variant.micro_conditions) == (6, 128, 0.02)
        assert variant.sampling.steps == 25
        assert variant.sources["base"].gated
        assert variant.scheduler["prediction_type"] == "v_prediction"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_named_licensed_and_where_known_pinned(name):
    variant = load_variant(name)
    files = list(variant.files())
    assert len(files) == 7
    assert all(file.source and file.source.licence for file in files)
    pinned = {file.path for file in files if file.digest}
    assert len(pinned) == 2
    assert all(path.startswith("ControlNeXt-SVD/") for path in pinned)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_variant_survives_writing_and_reading(name, tmp_path):
    variant = load_variant(name)
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(variant.to_dict()))
    assert read_variant(path) == variant


def test_unknown_models_are_told_the_nearest_and_the_known(tmp_path):
    message = r"'svd_v2'.*did you mean 'svd-v2'\?.*auto, tiny, animate-anyone, "
    with pytest.raises(ModelError, match=message):
        load_variant("svd_v2")
    with pytest.raises(ModelError, match=r"has no variant\.yaml"):
        load_variant(tmp_path)


def test_files_of_other_programs_are_to_be_imported(tmp_path):
    file = tmp_path / "svd_xt.safetensors"
    file.write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"no variant\.yaml .*`cnx models import .* NAME`"):
        load_variant(tmp_path)
    with pytest.raises(ModelError, match=r"is a file, not a model; `cnx models import .*svd_xt"):
        load_variant(file)


def test_a_folder_is_a_variant(tmp_path):
    write(tmp_path / "mine", name="mine")
    variant = load_variant(tmp_path / "mine")
    assert (variant.name, variant.folder) == ("mine", (tmp_path / "mine").resolve())
    assert all(str(file).startswith(str(tmp_path)) for file in variant.missing())
    assert variant.missing()


def nested(group: str, **changes):
    return {group: {**toy_variant().to_dict()[group], **changes}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windw": 3}, r"unknown setting 'windw'"),
        (
            nested("sampling", windo=3),
            r"sampling: unknown setting 'windo'; did you mean 'window'\?",
        ),
        ({"injection": None}, r"the setting 'injection' is missing"),
        ({"folder": "/x"}, r"unknown setting 'folder'"),
        (nested("sampling", window="six"), r"sampling: window 'six' is not a whole number"),
        (nested("sampling", window=True), r"sampling: window True is not a whole number"),
        (nested("sampling", window=0), r"window 0 is out of range: at least 1"),
        (nested("sampling", overlap=4), r"overlap 4 is not below the window of 4"),
        (nested("sampling", fusing=None), r"sampling lacks fusing; a variant states each"),
        (nested("sampling", seed=3), r"sampling sets seed, which a request decides"),
        (nested("sampling", guidance="high"), r"guidance 'high' is not SCALE"),
        (
            nested("sampling", schedule="random"),
            r"schedule 'random' is not one of static",
        ),
        (nested("injection", hook_point="up"), r"hook_point 'up' is not one of stem"),
        (nested("injection", weight=-1), r"weight must lie between 0 and 10"),
        (nested("injection", gate="sigmoid"), r"needs a control network with learned_scale"),
        (nested("controlnext", mid_groups=5), r"32 channels cannot be normalised in 5 groups"),
        (nested("micro_conditions", noise_augmentation=-0.1), r"between 0 and 10"),
        ({"sizes": ["65x64"]}, r"size 65x64 is not a multiple of 8"),
        ({"sizes": []}, r"at least one size"),
        ({"sizes": ["big"]}, r"sizes: size 'big' is not WIDTHxHEIGHT"),
        ({"size_multiple": 0}, r"size_multiple must be positive"),
        ({"feature_std": [1, 1]}, r"three numbers each"),
        ({"channels_per_group": 0}, r"channels_per_group must be positive"),
        ({"components": {}}, r"components must be unet, vae"),
        ({"digests": {"x": "0" * 64}}, r"a file that no component has"),
        ({"sources": {"a": {"repository": "x", "revision": "m", "licence": ""}}}, r"owner/name"),
    ],
)
def test_faults_name_the_file_and_the_setting(tmp_path, changes, message):
    write(tmp_path / "m")
    path = tmp_path / "m" / "variant.yaml"
    values = {**yaml.safe_load(path.read_text()), **changes}
    path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))
    with pytest.raises(ModelError, match=rf"variant\.yaml.*{message}"):
        load_variant(path.parent)


def test_a_component_may_not_name_an_unknown_source(tmp_path):
    parts = toy_variant().to_dict()["components"]
    parts["vae"] = {"config": "bse:vae/config.json", "weights": ["w.bin"]}
    write(tmp_path / "m", components=parts)
    with pytest.raises(ModelError, match=r"bse:vae/config\.json names no source"):
        load_variant(tmp_path / "m")
    parts["vae"] = {"weights": []}
    write(tmp_path / "m", components=parts)
    with pytest.raises(ModelError, match="weights must name at least one file"):
        load_variant(tmp_path / "m")


def test_auto_takes_the_published_model_when_it_is_here_and_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(variants, "bundled_folder", lambda: tmp_path / "tiny")
    write(tmp_path / "tiny", name="tiny")
    absent = resolve("auto")
    assert absent.variant.name == "tiny"
    assert "svd-v2 are not on this machine" in absent.reason
    assert "cnx models fetch svd-v2" in absent.reason
    (tmp_path / "file").write_bytes(b"x")
    monkeypatch.setattr(ModelFile, "locate", lambda file: tmp_path / "file")
    present = resolve("auto")
    assert (present.variant.name, present.reason) == (
        "svd-v2",
        "its weights are on this machine",
    )
    assert resolve("svd-v1").reason == "svd-v1 was asked for"


def test_variants_are_read_without_torch():
    code = (
        "import sys; from animate.models.variants import load_variant; load_variant('svd-v2');"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=configs_folder().parent)


@pytest.mark.parametrize(
    ("injection", "halves"),
    [
        ({"place": "down", "weight": 0.2, "gate": "none", "unconditional": 0.0}, "conditional"),
        ({"place": "mid", "weight": 1.3, "gate": "none", "unconditional": 0.65}, "both"),
    ],
)
def test_folders_of_the_version_before_are_read_as_they_were_meant(tmp_path, injection, halves):
    write(tmp_path / "m")
    path = tmp_path / "m" / "variant.yaml"
    values = {**yaml.safe_load(path.read_text()), "injection": injection}
    path.write_text(yaml.safe_dump(values))
    read = load_variant(tmp_path / "m").injection
    assert read.hook_point == {"down": "down", "mid": "mid-input"}[injection["place"]]
    assert (read.weight, read.halves) == (injection["weight"], halves)
    assert (read.unconditional or 0) == injection["unconditional"]


@pytest.mark.parametrize("changes", [{"controlnext": None}])
def test_a_variant_without_a_control_network_is_refused(tmp_path, changes):
    write(tmp_path / "m")
    path = tmp_path / "m" / "variant.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))
    with pytest.raises(ModelError, match=r"one control network, in a section controlnext.* not 0"):
        load_variant(tmp_path / "m")


@pytest.fixture
def rooted(tmp_path: Path) -> Path:
    """A root with a model of links in it, and the files outside that they lead to."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    write(root / "model")
    write(outside / "model")
    (outside / "secret.bin").write_bytes(b"weights")
    return root


def test_a_models_files_must_lie_inside_the_roots(rooted):
    roots = [rooted.resolve()]
    for name in ("auto", "tiny", "svd-v2"):
        check_model_inside(name, roots)
    check_model_inside(rooted / "model", roots)
    (rooted / "model" / "model.safetensors").symlink_to(rooted.parent / "outside/secret.bin")
    with pytest.raises(ModelError, match=r"really .*outside/secret\.bin, lies outside .*--root"):
        check_model_inside(rooted / "model", roots)
    check_model_inside(rooted / "model", [*roots, (rooted.parent / "outside").resolve()])


def test_a_linked_model_folder_or_description_is_not_read(rooted):
    roots, outside = [rooted.resolve()], rooted.parent / "outside"
    (rooted / "linked").symlink_to(outside / "model")
    (rooted / "half").mkdir()
    (rooted / "half" / "variant.yaml").symlink_to(outside / "secret.bin")
    for name in ("linked", "half"):
        with pytest.raises(ModelError, match="lies outside the allowed --root"):
            check_model_inside(rooted / name, roots)


def test_paths_of_a_description_may_not_lead_out_of_the_roots(rooted):
    components = {**toy_variant().to_dict()["components"]}
    components["vae"] = {"config": "config.json", "weights": ["../../outside/secret.bin"]}
    write(rooted / "model", components=components)
    with pytest.raises(ModelError, match=r"model/\.\./\.\./outside/secret\.bin, which is really"):
        check_model_inside(rooted / "model", [rooted.resolve()])


def test_a_folder_that_is_named_without_a_slash_counts_as_well(rooted, monkeypatch):
    monkeypatch.chdir(rooted.parent / "outside")
    with pytest.raises(ModelError, match=r"model model: model, which is really .*lies outside"):
        check_model_inside("model", [rooted.resolve()])
    with pytest.raises(ModelError, match=r"lies outside|no model is called"):
        check_model_inside("absent", [rooted.resolve()])


@pytest.mark.parametrize("path", ["../x.bin", "/x.bin", "a/../../x.bin", "a\0b"])
def test_a_repositorys_file_has_a_path_inside_it(path):
    with pytest.raises(ModelError, match="is no path in a repository"):
        Component(weights=(f"base:{path}",))
