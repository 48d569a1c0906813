"""Rounds: everybody has a turn whatever the time, nobody has more than five, and the report says of each what it was."""

import json
from collections.abc import Sequence
from time import perf_counter

import pytest

from clearhouse.app.bench import printing
from clearhouse.app.bench.rounds import ROUNDS, Contestant, NobodyRaces, chosen, race, report

FOREVER = 1e6


def contestant(name: str, *figures: float, reference: str | None = None, asked: float | None = None) -> Contestant:
    left = iter([*figures, *([figures[-1]] * ROUNDS)])

    async def turn(_: float) -> float:
        return next(left)

    return Contestant(name, "rows/s", turn, reference, goal=2.0, least=1.0, asked=asked)


def names(contestants: Sequence[Contestant]) -> list[str]:
    return [each.name for each in contestants]


async def test_everybody_has_one_turn_even_if_there_is_no_time() -> None:
    racing = [contestant("alone", 1), contestant("through", 1)]
    told: list[str] = []
    await race(racing, until=perf_counter() - 1, tell=told.append)
    assert [len(each.figures) for each in racing] == [1, 1]
    assert len(told) == 2


async def test_nobody_has_more_than_five_turns_however_long_there_is() -> None:
    racing = [contestant("alone", 1), contestant("through", 1)]
    await race(racing, until=perf_counter() + FOREVER, tell=lambda _: None)
    assert [len(each.figures) for each in racing] == [ROUNDS, ROUNDS]


async def test_a_round_that_would_not_fit_is_left_out() -> None:
    asked: list[float] = []

    async def turn(seconds: float) -> float:
        asked.append(seconds)
        return 1

    until = perf_counter() + 0.3  # two turns of the shortest, and no third
    await race([Contestant("short", "rows/s", turn)], until=until, tell=lambda _: None)
    assert 1 <= len(asked) <= ROUNDS
    assert all(each >= 0.2 for each in asked)


async def test_the_figure_is_the_median_with_its_ratio_its_spread_and_its_rounds() -> None:
    racing = [contestant("alone", 8, 8, 8, 8, 8), contestant("through", 4, 2, 6, 4, 4, reference="alone", asked=5)]
    await race(racing, until=perf_counter() + FOREVER, tell=lambda _: None)
    alone, through = report("some", racing).results
    assert (alone.value, alone.ratio, alone.spread, alone.reference, alone.asked) == (8, None, 0, None, None)
    assert (through.value, through.ratio, through.spread, through.reference) == (4, 0.5, 1, "alone")
    assert (through.least, through.goal, through.asked, through.rounds) == (1.0, 2.0, 5, ROUNDS)


def test_who_is_chosen_brings_what_it_is_measured_against() -> None:
    racing = [contestant("alone", 1), contestant("other", 1), contestant("through", 1, reference="alone")]
    assert names(chosen(racing, "")) == ["alone", "other", "through"]
    assert names(chosen(racing, "thro")) == ["alone", "through"]
    with pytest.raises(NobodyRaces, match="alone, other, through"):
        chosen(racing, "nobody")


async def test_the_table_and_the_object_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    racing = [contestant("alone", 8), contestant("through", 4, 2, reference="alone", asked=5)]
    await race(racing, until=perf_counter() + FOREVER, tell=lambda _: None)
    found = report("some", racing)
    printing.show(found, as_json=True)
    through = json.loads(capsys.readouterr().out)["results"][1]
    printing.show(found, as_json=False)
    row = next(line for line in capsys.readouterr().out.splitlines() if "through" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[0] == through["name"]
    assert [float(cells[1]), float(cells[4]), float(cells[6])] == [through["value"], through["asked"], through["ratio"]]
    assert cells[2] == f"±{through['spread'] * 50:.0f} %"
    assert (cells[3], cells[5]) == (through["unit"], through["reference"])
