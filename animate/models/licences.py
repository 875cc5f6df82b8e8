"""Licences of a variant's code and weights, in one word each; acceptance of restricted ones.

The word is the licence's own answer to one question: commercial use? Names of licences decide it; a
variant or source may state it where its name does not (`commercial`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from animate.errors import ModelError
from animate.models.config import Source
from animate.models.store import ModelFile
from animate.models.variants import ModelVariant
from animate.request.wording import listed

Use = Literal["non-commercial", "unstated", "limited", "commercial"]
"""Commercial use: forbidden; not stated; allowed within limits, such as a yearly revenue; allowed.
In this order the first of several decides."""

_SAYS: Mapping[Use, str] = {
    "non-commercial": "no commercial use",
    "unstated": "commercial use is not stated",
    "limited": "commercial use within its limits",
    "commercial": "commercial use allowed",
}

_WORDS: tuple[tuple[str, Use], ...] = (
    ("non-commercial", "non-commercial"),
    ("noncommercial", "non-commercial"),
    ("cc-by-nc", "non-commercial"),
    ("academic", "non-commercial"),
    ("research", "non-commercial"),
    ("stability ai community", "limited"),
    ("apache", "commercial"),
    ("openrail", "commercial"),
    ("open rail", "commercial"),
    ("bsd", "commercial"),
    ("cc0", "commercial"),
    ("cc-by", "commercial"),
    ("mit", "commercial"),
)
"""Parts of licences' names with their answers, the restrictive ones first."""


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence of some files, and its answer."""

    name: str
    use: Use
    origin: str
    """Repository, or folder, that it comes with."""
    url: str = ""
    gated: bool = False
    """It must be accepted on the hub, with an account."""
    files: tuple[str, ...] = ()
    """Files that it covers."""
    fetched: bool = True
    """False for files that are never fetched, which users bring."""

    @property
    def is_restricted(self) -> bool:
        """True where it has to be accepted here before its files are fetched: the use is forbidden
        or limited, and the hub does not ask itself."""
        restricts = self.use in ("non-commercial", "limited")
        return restricts and self.fetched and not self.gated

    def line(self) -> str:
        """One line for people, with the files that it covers."""
        link = f" ({self.url})" if self.url else ""
        gate = "; it must be accepted there first" if self.gated else ""
        covered = f": {listed(self.files)} of {self.origin}" if self.files else f" of {self.origin}"
        return f"licence {self.name}{link}, {_SAYS[self.use]}{gate}{covered}"


def use_of(name: str, commercial: bool | None = None) -> Use:
    """The answer of a licence by its name, or the one that is stated."""
    if commercial is not None:
        return "commercial" if commercial else "non-commercial"
    lower = name.lower()
    return next((use for part, use in _WORDS if part in lower), "unstated")


def strictest(uses: Iterable[Use]) -> Use:
    """The answer for files that are used together."""
    return min(uses, key=get_args(Use).index, default="unstated")


def weights_licences(variant: ModelVariant) -> tuple[Licence, ...]:
    """The licences of a variant's files by their origin, and of face networks that users bring."""
    licences = tuple(_by_origin(variant.files(), variant))
    if variant.face is None:
        return licences
    name, origin = variant.face.licence, "--identity-folder"
    return (*licences, Licence(name=name, use=use_of(name), origin=origin, fetched=False))


def code_licence(variant: ModelVariant) -> Licence:
    """The licence of the published code that the variant follows, or of this program."""
    if not variant.code_licence:
        return Licence(name="Apache-2.0", use="commercial", origin="this program's own")
    return Licence(
        name=variant.code_licence,
        use=use_of(variant.code_licence),
        origin=variant.code_url,
        url=variant.code_url,
    )


def weights_use(variant: ModelVariant) -> Use:
    """Use of the variant as a whole: the strictest of its files' licences, or what it states."""
    uses = [licence.use for licence in weights_licences(variant)]
    return strictest([*uses, use_of(variant.licence, variant.commercial)])


def file_licences(files: Iterable[ModelFile]) -> tuple[Licence, ...]:
    """The licences of files from repositories, by their origin."""
    return tuple(_by_origin((file for file in files if file.source is not None), None))


def _by_origin(files: Iterable[ModelFile], variant: ModelVariant | None) -> Iterator[Licence]:
    by_origin: dict[str, list[ModelFile]] = {}
    for file in files:
        by_origin.setdefault(file.source.repository if file.source else "", []).append(file)
    for group in by_origin.values():
        owner: Source | ModelVariant | None = group[0].source or variant
        assert owner is not None
        yield Licence(
            name=owner.licence,
            use=use_of(owner.licence, owner.commercial),
            origin=owner.repository if isinstance(owner, Source) else f"the folder of {owner.name}",
            url=owner.licence_url,
            gated=isinstance(owner, Source) and owner.gated,
            files=tuple(file.path for file in group),
        )


def check_accepted(licences: Iterable[Licence], accepted: Collection[str]) -> None:
    """Raise ModelError where a restricted licence is not among the `accepted` origins."""
    missing = [each for each in licences if each.is_restricted and each.origin not in accepted]
    if missing:
        licence = missing[0]
        link = f"; read it at {licence.url}" if licence.url else ""
        flags = " ".join(f"--accept-licence {each.origin}" for each in missing)
        raise ModelError(
            f"{licence.origin} is for {licence.use} use ({licence.name}){link}; nothing was "
            f"fetched: if you accept it, run again with {flags}"
        )
