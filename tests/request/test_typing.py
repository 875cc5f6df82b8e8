"""The types of the public classes are honest: a checker takes what the code takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

TAKEN = """
from fractions import Fraction
from pathlib import Path
from animate import AnimateError, AnimationRequest, Animator, RuntimeOptions, SamplingOptions

request = AnimationRequest(
    reference=Path("me.png"), driving="d.mp4", output="c.mp4", size="576x1024", start=1.5,
    end="36f", fps=25, poses="p.npz", lora="x.safetensors:0.5", model=Path("m"),
    sampling=SamplingOptions(guidance=2, guidance_interval=(0.3, 10.0), control_weight=1),
    runtime=RuntimeOptions(memory="8GiB", cache="none", sign="c.pem:k.pem", threads=2),
)
AnimationRequest(
    reference="a", driving="b", output="c", size=(576, 1024), fps="30000/1001", start=None,
    lora=["a.safetensors", ("b.safetensors", 0.5)], sampling=SamplingOptions(guidance=(1, 3)),
)
path: Path = request.reference
rate: Fraction | None = request.fps
width: int = request.size.width if request.size else 0
try:
    Animator.from_pretrained("tiny", precision="float32")(request)
except AnimateError as error:
    print(error)
"""
REFUSED = """
from animate import AnimationRequest, RuntimeOptions, SamplingOptions
AnimationRequest(reference=3, driving="b", output="c")
AnimationRequest(reference="a", driving="b", output="c", size=3)
AnimationRequest(reference="a", driving="b", output="c", fit="squeeze")
AnimationRequest(reference="a", driving="b", output="c", sampling={"steps": 3})
AnimationRequest(reference="a", driving="b", output="c", stepz=3)
SamplingOptions(guidance=[1, 2, 3])
RuntimeOptions(cache=True)
"""


@pytest.mark.timeout(600)
def test_mypy_takes_what_the_code_takes_and_refuses_what_it_refuses(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    assert EXAMPLES
    good = "\n".join((*EXAMPLES, TAKEN))
    (tmp_path / "example.py").write_text(good + REFUSED, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    # In the checkout, whose cache `make lint` has filled.
    done = subprocess.run(
        [*command, str(tmp_path / "example.py")], cwd=ROOT, capture_output=True, text=True
    )
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    first = len(good.splitlines()) + 3  # after an empty line and the import
    assert lines == set(range(first, first + len(REFUSED.splitlines()) - 2)), done.stdout


@pytest.mark.parametrize("package", ["animate", "pose", "temporal"])
def test_packages_say_that_they_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
