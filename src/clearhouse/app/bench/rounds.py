"""Rounds: every workload and every reference takes its turn, again and again; the median of its turns is its figure."""

import os
import platform
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import msgspec

ROUNDS_MIN = 5
Turn = Callable[[float], Awaitable[float]]
Tell = Callable[[str], None]


@dataclass(slots=True)
class Contestant:
    """Something that is measured: `turn(seconds)` runs it for about so long and returns its figure."""

    name: str
    unit: str
    turn: Turn
    reference: str | None = None
    goal: float | None = None
    least: float | None = None
    figures: list[float] = field(default_factory=list[float])

    @property
    def median(self) -> float:
        """Return the figure."""
        return statistics.median(self.figures)


class Result(msgspec.Struct, frozen=True):
    """One line of the report. `least` is where the ratio must land, `goal` where it is going."""

    name: str
    value: float
    unit: str
    reference: str | None
    ratio: float | None
    least: float | None
    goal: float | None
    spread: float


class Report(msgspec.Struct, frozen=True):
    """What a bench found, on which machine."""

    bench: str
    machine: str
    results: list[Result]


async def race(contestants: Sequence[Contestant], *, seconds: float, tell: Callable[[str], None]) -> None:
    """Let each take its turns within so many seconds in all."""
    slice_seconds = max(0.3, seconds / ROUNDS_MIN / len(contestants))
    for number in range(ROUNDS_MIN):
        for each in contestants:
            start = perf_counter()
            each.figures.append(await each.turn(slice_seconds))
            tell(f"round {number + 1}: {each.name}: {each.figures[-1]:,.0f} {each.unit} ({perf_counter() - start:.1f} s)")


def report(bench: str, contestants: Sequence[Contestant]) -> Report:
    """Return the medians with their ratios."""
    by_name = {each.name: each for each in contestants}
    results = [_result(each, by_name.get(each.reference or "")) for each in contestants]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return Report(bench, machine, results)


def _result(each: Contestant, reference: Contestant | None) -> Result:
    ratio = None if reference is None or not reference.median else round(each.median / reference.median, 3)
    spread = (max(each.figures) - min(each.figures)) / each.median if each.median else 0.0
    name = None if reference is None else reference.name
    return Result(each.name, round(each.median, 3), each.unit, name, ratio, each.least, each.goal, round(spread, 2))
