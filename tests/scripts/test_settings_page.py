from __future__ import annotations

from animate.request.request import AnimationRequest
from animate.request.schema import settings_of
from scripts.settings_page import PAGE, page


def test_the_page_of_settings_is_that_of_the_fields() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m scripts.settings_page"


def test_every_setting_is_on_the_page() -> None:
    assert all(f"| `{name}` |" in page() for name in settings_of(AnimationRequest))
