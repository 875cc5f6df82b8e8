"""The table that `make test-gpu` prints, made on a CPU of narrow networks."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.rehearsal import card


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow: dict[str, dict[str, Any]] = {
        "unet": {
            "block_out_channels": [320, 64, 64, 64],
            "num_attention_heads": [5, 2, 2, 2],
            "layers_per_block": 1,
            "cross_attention_dim": 32,
        },
        "vae": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1},
        "image_encoder": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    }
    build = card.build_network
    monkeypatch.setattr(card, "build_network", lambda n, c: build(n, {**c, **narrow[n]}))
    monkeypatch.setattr(card, "precisions", lambda _: [card.torch.float32])


def test_a_table_has_a_row_for_a_precision(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert card.main(["--device", "cpu", "--size", "64x64", "--window", "2"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].startswith("### cpu, torch ")
    assert [line.split(" | ")[0] for line in table[4:]] == ["| float32"]
    for line in table[4:]:
        step, decode = (float(cell.removesuffix(" s")) for cell in line.split(" | ")[3:5])
        assert step > 0
        assert decode >= 0


def test_a_card_that_is_not_there_is_the_user_s_mistake(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        card.main(["--device", "cuda:7"])
    assert stop.value.code == 2
    assert "device cuda:7" in capsys.readouterr().err
