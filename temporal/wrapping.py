"""Give a module another forward for a while: the one way in which this package changes a network.

Only the instance is touched, never its class, and what stood there before (also another library's
wrapper) stands there again afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import nn


def override_forward(stack: ExitStack, module: nn.Module, forward: Callable[..., Any]) -> None:
    """Replace a module's forward until the stack closes.

    Args:
        stack: restores the module when it closes; several overrides come off in reverse order.
        module: whose instance attribute `forward` is set.
        forward: called with what the module is called with, without the module itself.
    """
    attributes = vars(module)
    absent = object()
    before = attributes.get("forward", absent)
    attributes["forward"] = forward

    def restore() -> None:
        if before is absent:
            del attributes["forward"]
        else:
            attributes["forward"] = before

    stack.callback(restore)
