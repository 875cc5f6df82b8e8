"""People who are described in words: the procedural characters in named clothes and places.

A seed decides everything: the person, the words, the poses. `HELD_OUT` seeds are never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from scripts.tiny.characters.backgrounds import PLACES
from scripts.tiny.characters.clip import Character
from scripts.tiny.characters.identity import Identity
from scripts.tiny.characters.motion import Motion, Pose
from scripts.tiny.characters.textures import (
    SWATCH,
    Colour,
    Picture,
    dots,
    noise,
    plaid,
    plain,
    strands,
    stripes,
)

HELD_OUT = 1_000_000
"""First seed that no recipe trains on."""

COLOURS: dict[str, Colour] = {
    "black": (28, 28, 30), "grey": (130, 130, 134), "white": (240, 240, 238),
    "red": (205, 30, 38), "orange": (240, 130, 25), "yellow": (242, 218, 60),
    "green": (45, 150, 60), "blue": (40, 80, 205), "purple": (125, 50, 165),
    "pink": (243, 140, 185), "brown": (120, 72, 38),
}  # fmt: skip
"""Colours (RGB, 0 to 255) of clothes and walls by their names."""

HAIR_COLOURS: dict[str, Colour] = {
    "black": (25, 22, 22), "brown": (92, 56, 28), "blond": (222, 188, 110), "red": (170, 68, 30),
    "grey": (165, 165, 168), "pink": (235, 120, 175), "blue": (50, 95, 210),
    "green": (60, 160, 75),
}  # fmt: skip

_HAIR = {
    "short": "short {colour} hair", "bob": "a {colour} bob", "long": "long {colour} hair",
    "tail": "a {colour} ponytail", "bun": "a {colour} bun",
}  # fmt: skip
_PATTERNS = {"": plain, "striped": stripes, "checked": plaid, "dotted": dots}
_SCENES = {
    "landscape": "in the hills", "room": "in a room", "lights": "among lights",
    "foliage": "among leaves", "collage": "in a city",
}  # fmt: skip
_NOUNS = ("person", "dancer", "woman", "man", "figure")
_LONGEST_JUNK = 7


@dataclass(frozen=True, kw_only=True)
class Words:
    """Attributes of a person that a caption names."""

    hair: str
    """Style of the hair, "bald" or "hat"."""
    hair_colour: str
    outfit: str
    top: str
    """Colour of the shirt or dress."""
    top_pattern: str
    bottom: str
    """Colour of trousers, shorts or skirt; of a dress the dress's."""
    scenery: str
    wall: str
    """Colour of a plain wall; empty elsewhere."""

    def clothes(self) -> str:
        """Clothes in words."""
        top = " ".join(word for word in (self.top_pattern, self.top) if word)
        if "dress" in self.outfit:
            long, _, noun = self.outfit.rpartition(" ")
            return f"in {_article(long or top)} {long + ' ' if long else ''}{top} {noun}"
        article = "" if self.outfit in ("trousers", "shorts") else "a "
        return f"in {_article(top)} {top} shirt and {article}{self.bottom} {self.outfit}"

    def head(self) -> str:
        """Hair in words."""
        if self.hair == "bald":
            return "without hair"
        if self.hair == "hat":
            return "with a hat"
        words = _HAIR[self.hair].format(colour=self.hair_colour)
        return "with " + words.replace("a orange", "an orange")

    def where(self) -> str:
        """Place in words."""
        if self.wall:
            return f"before {_article(self.wall)} {self.wall} wall"
        return _SCENES[self.scenery]

    def caption(self) -> str:
        """The whole description, in the order that the evaluation uses."""
        return f"a person {self.head()} {self.clothes()}, {self.where()}"


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"


def draw_words(rng: Generator) -> Words:
    """A description from the generator's next numbers."""
    names, hairs = list(COLOURS), list(HAIR_COLOURS)
    styles = [*_HAIR, "bald", "hat"]
    outfits = ("trousers", "shorts", "skirt", "dress", "long dress")
    outfit = outfits[int(rng.choice(5, p=(0.38, 0.16, 0.16, 0.2, 0.1)))]
    top = str(rng.choice(names))
    bottom = top if "dress" in outfit else str(rng.choice(names))
    plain_wall = rng.uniform() < 0.5
    return Words(
        hair=styles[int(rng.choice(7, p=(0.26, 0.16, 0.26, 0.1, 0.08, 0.06, 0.08)))],
        hair_colour=str(rng.choice(hairs)),
        outfit=outfit,
        top=top,
        top_pattern=list(_PATTERNS)[int(rng.choice(4, p=(0.64, 0.14, 0.11, 0.11)))],
        bottom=bottom,
        scenery="gradient" if plain_wall else str(rng.choice(list(_SCENES))),
        wall=str(rng.choice(names)) if plain_wall else "",
    )


def phrase(words: Words, rng: Generator) -> str:
    """A caption as people write: parts left out or in another order, now and then a word that
    says nothing."""
    noun = str(rng.choice(_NOUNS))
    parts = [words.head(), words.clothes(), words.where()]
    parts_used = [part for part, share in zip(parts, (0.85, 0.95, 0.85), strict=True)
            if rng.uniform() < share]  # fmt: skip
    if rng.uniform() < 0.2:
        parts_used = [parts_used[index] for index in rng.permutation(len(parts_used))]
    text = " ".join([f"{_article(noun)} {noun}", *parts_used])
    if rng.uniform() < 0.5:
        text = text.replace(" before", ", before").replace(" among", ", among")
    if rng.uniform() < 0.15:
        tokens = text.split(" ")
        letters = rng.integers(ord("a"), ord("z") + 1, int(rng.integers(2, _LONGEST_JUNK)))
        tokens.insert(int(rng.integers(len(tokens) + 1)), "".join(map(chr, letters)))
        text = " ".join(tokens)
    return text


def all_words() -> list[str]:
    """Every word of the captions, once."""
    texts = [*COLOURS, *HAIR_COLOURS, *_NOUNS, *_PATTERNS, *_SCENES.values(), *_HAIR.values(),
             "in a an and with without hair hat before wall shirt trousers shorts skirt dress long",
             ", . ink drawing photo"]  # fmt: skip
    words = " ".join(texts).replace("{colour}", " ").split()
    return sorted(set(words))


def dressed(identity: Identity, words: Words, rng: Generator) -> Identity:
    """The identity in the clothes and hair that the words say."""
    hair = _near(HAIR_COLOURS[words.hair_colour], rng)
    top = _cloth(_PATTERNS[words.top_pattern], COLOURS[words.top], rng)
    bottom = top if "dress" in words.outfit else _cloth(plain, COLOURS[words.bottom], rng)
    hems = {"trousers": (1.7, 2.0), "shorts": (0.5, 1.0), "skirt": (0.55, 1.2),
            "dress": (0.5, 1.1), "long dress": (1.5, 1.9)}  # fmt: skip
    return replace(
        identity,
        hair_colour=hair,
        hair=strands(rng, hair),
        hair_style=words.hair,
        top=top,
        sleeve_cloth=top,
        badge=None,
        bottom=bottom,
        outfit=words.outfit,
        hem=float(rng.uniform(*hems[words.outfit])),
        contrast=min(identity.contrast, 0.35),
    )


def _near(colour: Colour, rng: Generator) -> Colour:
    """A shade of a colour that still has its name."""
    red, green, blue = np.clip(np.array(colour) * rng.uniform(0.88, 1.06) + rng.normal(0, 5, 3), 0,
                               255)  # fmt: skip
    return (float(red), float(green), float(blue))


def _cloth(pattern: object, colour: Colour, rng: Generator) -> Picture:
    main = _near(colour, rng)
    light = sum(main) > 500
    second = (60.0, 60.0, 64.0) if light else (235.0, 235.0, 232.0)
    make = pattern if callable(pattern) else plain
    wrinkles = noise(rng, (SWATCH, SWATCH), rng.uniform(2, 5), octaves=3) - 0.5
    cloth = make(rng, main, second) * (1 + rng.uniform(0.05, 0.25) * wrinkles[..., None])
    return np.clip(cloth, 0, 255).astype(np.uint8)


def scene(words: Words, rng: Generator, size: tuple[int, int]) -> Picture:
    """Background (h,w,3) of a size (width, height)."""
    if not words.wall:
        picture = np.ascontiguousarray(PLACES[words.scenery](rng, size), np.float32)
        blurred = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.004, 0.015) * max(size))
        return np.clip(blurred, 0, 255).astype(np.uint8)
    width, height = size
    light = np.linspace(1.0, rng.uniform(0.85, 1.0), height)[:, None, None]
    wall = np.array(_near(COLOURS[words.wall], rng)) * light
    return np.broadcast_to(np.clip(wall, 0, 255), (height, width, 3)).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A person in a place, in poses that are known exactly. N poses of h x w pixels."""

    words: Words
    pictures: NDArray[np.uint8]
    """(N,h,w,3)."""
    points: NDArray[np.float32]
    """(N,134,2) in pixels."""
    scores: NDArray[np.float32]
    """(N,134)."""
    masks: NDArray[np.uint8]
    """(N,h,w): how much of a pixel the figure covers, 0 to 255."""


def words_of(seed: int) -> Words:
    """The description of the person of a seed."""
    return draw_words(np.random.default_rng([seed, 7]))


def render(
    seed: int,
    poses: int,
    size: tuple[int, int],
    *,
    wall: str = "",
) -> Scene:
    """The person of a seed in a number of poses at a size (width, height).

    wall: colour of a plain wall behind, in place of what the seed says
    """
    words = words_of(seed)
    rng = np.random.default_rng([seed, 4])
    if wall:
        words = replace(words, wall=wall, scenery="gradient")
    character = Character(
        seed,
        size,
        "full" if rng.uniform() < 0.65 else "knees",
        dress=lambda identity: dressed(identity, words, rng),
        scene=lambda large: scene(words, rng, large),
    )
    painted = [character.paint(pose) for pose in poses_of(seed, poses)]
    pictures, points, scores, masks = (np.stack(rows) for rows in zip(*painted, strict=True))
    return Scene(words=words, pictures=pictures, points=points, scores=scores, masks=masks)


def poses_of(seed: int, count: int) -> list[Pose]:
    """Poses of as many motions."""
    rngs = [np.random.default_rng([seed, 5, number]) for number in range(count)]
    return [Motion(rng).at(float(rng.uniform(0, 100))) for rng in rngs]
