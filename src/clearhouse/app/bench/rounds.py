"""Rounds: every workload and every reference takes its turn, again and again; the median of its turns is its figure."""

import os
import platform
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import msgspec

from clearhouse.refusals import Kind, Refusal

ROUNDS = 5
SECONDS_MIN = 0.2
FIRST_PART = 0.5
Turn = Callable[[float], Awaitable[float]]
Tell = Callable[[str], None]


class NobodyRaces(Refusal):
    """Nothing that is measured has {only} in its name; there are {names}."""

    code = "nobody_races"
    kind = Kind.MALFORMED


@dataclass(slots=True)
class Contestant:
    """Something that is measured: `turn(seconds)` runs it for about so long and returns its figure.

    `least` and `goal` are of the ratio to the reference; `asked` is the figure itself that is promised.
    """

    name: str
    unit: str
    turn: Turn
    reference: str | None = None
    goal: float | None = None
    least: float | None = None
    asked: float | None = None
    figures: list[float] = field(default_factory=list[float])

    @property
    def median(self) -> float:
        """Return the figure."""
        return statistics.median(self.figures)


class Result(msgspec.Struct, frozen=True):
    """One line of the report. `least` is where the ratio must land, `goal` where it is going, `asked` the figure wanted.

    `spread` is how far the rounds are from each other, as a part of the median.
    """

    name: str
    value: float
    unit: str
    reference: str | None
    ratio: float | None
    least: float | None
    goal: float | None
    asked: float | None
    spread: float
    rounds: int


class Report(msgspec.Struct, frozen=True):
    """What a bench found, on which machine."""

    bench: str
    machine: str
    results: list[Result]


async def race(contestants: Sequence[Contestant], *, until: float, tell: Tell) -> None:
    """Let each take its turns until an instant of `perf_counter`: as many rounds as fit, one at least and five at most.

    What turns cost beyond the seconds they are given, to fill and to drain, is seen in each round and left to the next.
    """
    seconds = max(SECONDS_MIN, (until - perf_counter()) * FIRST_PART / ROUNDS / len(contestants))
    for number in range(1, ROUNDS + 1):
        start = perf_counter()
        await _round(contestants, number, seconds, tell)
        left, beyond = until - perf_counter(), perf_counter() - start - seconds * len(contestants)
        fit = min(ROUNDS - number, int(left / (max(0.0, beyond) + SECONDS_MIN * len(contestants))))
        if fit < 1:
            return
        seconds = max(SECONDS_MIN, min(2 * seconds, (left / fit - beyond) / len(contestants)))


async def _round(contestants: Sequence[Contestant], number: int, seconds: float, tell: Tell) -> None:
    for each in contestants:
        start = perf_counter()
        each.figures.append(await each.turn(seconds))
        tell(f"round {number}: {each.name}: {each.figures[-1]:,.2f} {each.unit} ({perf_counter() - start:.1f} s)")


def chosen(contestants: Sequence[Contestant], only: str) -> list[Contestant]:
    """Return those that have a word in their name, and what they are measured against."""
    wanted = {each.name for each in contestants if only in each.name}
    wanted |= {each.reference for each in contestants if each.name in wanted and each.reference is not None}
    if not wanted:
        raise NobodyRaces(only=only, names=", ".join(each.name for each in contestants))
    return [each for each in contestants if each.name in wanted]


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
    return Result(
        each.name, round(each.median, 3), each.unit, name, ratio, each.least, each.goal, each.asked, round(spread, 2),
        len(each.figures),
    )  # fmt: skip
