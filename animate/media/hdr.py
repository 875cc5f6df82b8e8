"""High dynamic range pictures to ordinary ones.

PQ (SMPTE ST 2084) and HLG (ARIB STD-B67) are decoded to light, brought from BT.2020 to BT.709
colours, and compressed so that the reference white of 203 cd/m2 (ITU-R BT.2408) stays close to
white while brighter light is rolled off instead of clipped.
"""

from __future__ import annotations

from functools import cache

import numpy as np

REFERENCE_WHITE = 203.0
"""cd/m2 of a white sheet, ITU-R BT.2408."""
_PEAK = 1000.0
"""cd/m2 mapped to full white: the usual mastering display, and HLG's nominal peak."""
_LEVELS = 65536
_TO_BT709 = np.array(
    [
        [1.660491, -0.587641, -0.072850],
        [-0.124550, 1.132900, -0.008349],
        [-0.018151, -0.100579, 1.118730],
    ],
    np.float32,
)
"""Linear BT.2020 to linear BT.709, ITU-R BT.2087."""
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
_KNEE = 0.6
"""Displayed light (1 is white) below which tones stay as they are but for their scale."""


def to_sdr(picture: np.ndarray, transfer: str) -> np.ndarray:
    """(height, width, 3) uint16 of `transfer` ("pq" or "hlg") as uint8 BT.709 RGB."""
    light = _light(transfer)[picture]
    if transfer == "hlg":
        # The display's own curve (system gamma 1.2 at 1000 cd/m2), ITU-R BT.2100 table 5.
        luma = np.maximum(light @ _BT2020_LUMA, 1e-6)
        light = light * (_PEAK * luma[..., None] ** 0.2)
    light = np.maximum(light @ _TO_BT709.T, 0) / REFERENCE_WHITE
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    light *= _compress(brightest) / brightest
    return _encode()[(np.clip(light, 0, 1) * (_LEVELS - 1) + 0.5).astype(np.uint16)]


@cache
def _light(transfer: str) -> np.ndarray:
    """(65536,) float32: light of each code; cd/m2 for PQ, 0 to 1 of scene light for HLG."""
    code = np.linspace(0, 1, _LEVELS)
    if transfer == "pq":
        power = code ** (32 / 2523)
        ratio = np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)
        return (10000 * ratio ** (16384 / 2610)).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


def _compress(light: np.ndarray) -> np.ndarray:
    """Roll tones above the knee off so that the peak meets white, smoothly (rational curve)."""
    top = _PEAK / REFERENCE_WHITE - _KNEE
    above = np.clip(light - _KNEE, 0, top)
    room = 1 - _KNEE
    # slope 1 at the knee, value `room` at `top`
    bend = top / room - 1
    return np.minimum(light, _KNEE) + above / (1 + above / top * bend)


@cache
def _encode() -> np.ndarray:
    """(65536,) uint8: the BT.709-era display's code (gamma 2.4, ITU-R BT.1886) of each light."""
    return (np.linspace(0, 1, _LEVELS) ** (1 / 2.4) * 255 + 0.5).astype(np.uint8)
