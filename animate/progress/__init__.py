"""Progress for people, programs and farms: one protocol, and the ways to show it.

`course` says which part of a clip each stage is, `sinks` has the protocol and the ways for people
and programs, `farm` those for farms.
"""

from animate.progress.course import RESTYLED, USUAL, Course, Position
from animate.progress.farm import KINDS, WORDS, FarmLines, choose_progress, failure_line
from animate.progress.sinks import (
    Bars,
    JsonLines,
    Lines,
    Progress,
    Quiet,
    Remembering,
    Sink,
    Stage,
    clock_text,
    give_up,
    left_text,
    say,
)

__all__ = [
    "KINDS",
    "RESTYLED",
    "USUAL",
    "WORDS",
    "Bars",
    "Course",
    "FarmLines",
    "JsonLines",
    "Lines",
    "Position",
    "Progress",
    "Quiet",
    "Remembering",
    "Sink",
    "Stage",
    "choose_progress",
    "clock_text",
    "failure_line",
    "give_up",
    "left_text",
    "say",
]
