"""Parsing: lines of JSON become what the database takes: their keys, and what they add to each key and metric.

Promise: a line that cannot be read refuses all of them and says which line it was; numbers are exact, however long.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

import msgspec

from clearhouse.money import DIGITS_MAX
from clearhouse.slices.records.cells import Aggregation, Number, added
from clearhouse.slices.records.refusals import Unparsable
from clearhouse.slices.records.structures import Structure

KEY_LENGTH_MAX = 500
RECORD_ID = "recordId"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FINE = re.compile(r"-?[0-9]{1,38}(?:\.[0-9]{1,38})?(?:[eE][+-]?[0-9]{1,2})?")

_WRONG = (msgspec.DecodeError, RecursionError, UnicodeDecodeError, InvalidOperation)


def _plain(given: str) -> int | Decimal:
    """Return a number as all its spellings have it: 1.50 is 1.5, and 1.0 is 1."""
    number = Decimal(given)
    exact = Context(prec=max(1, len(given)), Emax=MAX_EMAX, Emin=MIN_EMIN).normalize(number)
    return int(exact) if exact == exact.to_integral_value() and exact.adjusted() <= DIGITS_MAX else exact


_WHOLE: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=_plain)
_SAME = msgspec.json.Encoder(decimal_format="number", order="sorted")

Place = tuple[str, int]  # a key, and the number of a metric


class Sum(msgspec.Struct, array_like=True):
    """What records add to one metric of one key."""

    count: int
    total: Number | None = None
    least: Number | None = None
    most: Number | None = None
    latest: str | None = None


class Known(msgspec.Struct, frozen=True, array_like=True):
    """The id that a record brought along, and what tells the record from others: its JSON, however it is written.

    White space, the order of members and the spelling of a number do not matter; a number and a text are never the same.
    """

    id: str
    digest: bytes


class Parsed(msgspec.Struct):
    """Lines, read: as many keys as lines, in one text each, and the ids that some brought along, by line.

    `first` is the number that the first line has for whoever sent it.
    """

    records: int
    bodies: str
    keys: str
    sums: dict[Place, Sum]
    known: dict[int, Known]
    first: int = 1


class Reader:
    """Reads the records of one kind of structure. Only what matters is decoded; the rest is checked to be JSON."""

    def __init__(
        self, primary_key: str, metrics: Sequence[str], aggregation: Aggregation, decimals: int = DIGITS_MAX
    ) -> None:
        self._decimals = decimals
        self._aggregation = aggregation
        self._metrics = metrics
        names = list(dict.fromkeys([primary_key, *metrics, RECORD_ID]))
        fields = {name: f"f{place}" for place, name in enumerate(names)}
        self._key, self._id = fields[primary_key], fields[RECORD_ID]
        self._fields = [fields[name] for name in metrics]
        record = msgspec.defstruct(
            "Record", [(fields[name], Any, None) for name in names], rename={own: name for name, own in fields.items()},
            gc=False,
        )  # fmt: skip
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(record, float_hook=Decimal)
        self._primary_key = primary_key

    def read(self, lines: Sequence[bytes], *, first: int = 1) -> Parsed:
        """Read lines, of which the first has this number for whoever sent them."""
        found = self._decoded(lines, first)
        keys = self._keys(found, first)
        known = {
            place: Known(self._known(each, first + place), _digest(lines[place], first + place))
            for place, each in enumerate(found)
            if getattr(each, self._id) is not None
        }
        sums = self._counted(found, keys) if self._aggregation.counts else self._summed(found, keys, first)
        try:
            bodies = b"\n".join(lines).decode()
        except UnicodeDecodeError as error:
            raise Unparsable(
                place=f"record {first + error.object.count(10, 0, error.start)}", problem="it is not UTF-8"
            ) from error
        return Parsed(len(lines), bodies, "\n".join(keys), sums, known, first)

    def _decoded(self, lines: Sequence[bytes], first: int) -> list[Any]:
        try:
            found = self._decoder.decode_lines(b"\n".join(lines))
        except _WRONG:
            found = []
        if len(found) == len(lines):
            return found
        return [self._one(line, first + place) for place, line in enumerate(lines)]

    def _one(self, line: bytes, place: int) -> Any:
        try:
            return self._decoder.decode(line)
        except _WRONG as error:
            raise _unparsable(place, error) from error

    def _keys(self, found: Sequence[Any], first: int) -> list[str]:
        field = self._key
        keys = [getattr(each, field) for each in found]
        if (
            set(map(type, keys)) != {str}
            or _CONTROL.search("".join(keys))
            or len(max(keys, key=len)) > KEY_LENGTH_MAX
            or "" in keys
        ):
            return [self._fine(key, first + place) for place, key in enumerate(keys)]
        return keys

    def _fine(self, key: Any, place: int) -> str:
        where = f"record {place}, {self._primary_key}"
        if key is None:
            raise Unparsable(place=where, problem="the primary key is missing")
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise Unparsable(place=where, problem="the primary key is a text or a whole number")
        shown = str(key)
        if not 0 < len(shown) <= KEY_LENGTH_MAX or _CONTROL.search(shown):
            raise Unparsable(place=where, problem=f"the primary key has 1 to {KEY_LENGTH_MAX} characters that can be seen")
        return shown

    def _known(self, record: Any, place: int) -> str:
        given = getattr(record, self._id)
        if (
            isinstance(given, bool)
            or not isinstance(given, str | int)
            or not 0 < len(str(given)) <= KEY_LENGTH_MAX
            or _CONTROL.search(str(given))
        ):
            raise Unparsable(
                place=f"record {place}, {RECORD_ID}", problem=f"it is a text of 1 to {KEY_LENGTH_MAX} characters"
            )
        return str(given)

    def _counted(self, found: Sequence[Any], keys: Sequence[str]) -> dict[Place, Sum]:
        sums: dict[Place, Sum] = {}
        for metric, field in enumerate(self._fields):
            there = Counter([key for key, each in zip(keys, found, strict=True) if getattr(each, field) is not None])
            sums.update({(key, metric): Sum(count) for key, count in there.items()})
        return sums

    def _summed(self, found: Sequence[Any], keys: Sequence[str], first: int) -> dict[Place, Sum]:
        sums: dict[Place, Sum] = {}
        read = self._number if self._aggregation.numeric else self._scalar
        for place, (key, each) in enumerate(zip(keys, found, strict=True), start=first):
            for metric, field in enumerate(self._fields):
                given = getattr(each, field)
                if given is None:
                    continue
                one = read(given, lambda place=place, metric=metric: f"record {place}, {self._metrics[metric]}")
                there = sums.get((key, metric))
                sums[key, metric] = one if there is None else merged(there, one)
        return sums

    def _number(self, given: Any, place: Callable[[], str]) -> Sum:
        if isinstance(given, bool) or not isinstance(given, int | Decimal | str):
            raise Unparsable(place=place(), problem="a number is wanted here, or a text that is one")
        number = number_of(given)
        if number is None:
            raise Unparsable(place=place(), problem="a number has at most 38 digits, and 38 after the point")
        shown = f"{number:f}"
        if len(shown.partition(".")[2].rstrip("0")) > self._decimals:
            raise Unparsable(place=place(), problem=f"the currency has {self._decimals} decimals")
        return Sum(1, number, number, number, shown)

    @staticmethod
    def _scalar(given: Any, place: Callable[[], str]) -> Sum:
        if isinstance(given, dict | list):
            raise Unparsable(place=place(), problem="a single value is wanted here")
        shown = ("false", "true")[given] if isinstance(given, bool) else str(given)
        if len(shown) > KEY_LENGTH_MAX or "\x00" in shown:
            raise Unparsable(place=place(), problem=f"a value has at most {KEY_LENGTH_MAX} characters")
        return Sum(1, latest=shown)


def _digest(line: bytes, place: int) -> bytes:
    try:
        return hashlib.sha256(_SAME.encode(_WHOLE.decode(line))).digest()
    except _WRONG as error:
        raise _unparsable(place, error) from error


def _unparsable(place: int, error: Exception) -> Unparsable:
    if isinstance(error, RecursionError):
        return Unparsable(place=f"record {place}", problem="it is nested too deep")
    if isinstance(error, InvalidOperation):
        return Unparsable(place=f"record {place}", problem="a number is beyond every bound")
    return Unparsable(place=f"record {place}", problem=str(error)[:200].rstrip("."))


def number_of(given: int | Decimal | str) -> Decimal | None:
    """Return a number, or None for what is none, or longer than any that is counted here."""
    if isinstance(given, str) and _FINE.fullmatch(given) is None:
        return None
    try:
        number = Decimal(given)
    except (InvalidOperation, ValueError):
        return None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -DIGITS_MAX or number.adjusted() >= DIGITS_MAX:
        return None
    return number


def merged(one: Sum, other: Sum) -> Sum:
    """Return what two sums come to, of which the other came later."""
    return Sum(
        one.count + other.count,
        _both(one.total, other.total, added),
        _both(one.least, other.least, min),
        _both(one.most, other.most, max),
        one.latest if other.latest is None else other.latest,
    )


def _both(one: Number | None, other: Number | None, join: Callable[[Number, Number], Number]) -> Number | None:
    return other if one is None else one if other is None else join(one, other)


@lru_cache(maxsize=256)
def _reader(primary_key: str, metrics: tuple[str, ...], aggregation: Aggregation, decimals: int) -> Reader:
    return Reader(primary_key, metrics, aggregation, decimals)


def reader(structure: Structure) -> Reader:
    """Return what reads the records of a structure."""
    decimals = DIGITS_MAX if structure.exponent is None else structure.exponent
    return _reader(structure.primary_key, tuple(structure.metrics), structure.aggregating, decimals)


def lines_of(body: bytes) -> list[bytes]:
    """Return the lines of NDJSON that are not empty."""
    return [line for line in body.split(b"\n") if line and not line.isspace()]
