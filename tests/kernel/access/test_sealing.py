"""Sealing: what is stored says nothing, opens only in its place and under its key, and keys can be replaced."""

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearhouse.kernel.access.sealing import (
    KEYS_FILE,
    KeyMissing,
    KeysUnusable,
    NoKeys,
    SealBroken,
    Sealing,
    kept_keys,
    read_keys,
)  # fmt: skip
from trying import law

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
PROGRAM = (
    "import sys, pathlib; from clearhouse.kernel.access.sealing import kept_keys;"
    " print(kept_keys(pathlib.Path(sys.argv[1]))[0].id, end='')"
)
PLACE = ("webhook_secret", 1, "whk_1")


def sealing(*keys: str) -> Sealing:
    found = Sealing()
    found.use(read_keys("\n".join(keys), "a test"))
    return found


@law
@given(st.text(), st.lists(st.text(max_size=5), max_size=3))
def test_what_is_sealed_opens_in_its_place_and_in_no_other(text: str, place: list[str]) -> None:
    house = sealing(NEW)
    sealed = house.seal(text, *place)
    assert house.open(sealed, *place) == text
    for other in ([*place, ""], ["", *place], ["".join([*place, "x"])]):
        with pytest.raises(SealBroken):
            house.open(sealed, *other)


@law
@given(st.text(), st.data())
def test_what_was_altered_does_not_open(text: str, draw: st.DataObject) -> None:
    house = sealing(NEW)
    sealed = house.seal(text, *PLACE)
    head, _, kept = sealed.rpartition(".")
    raw = bytearray(base64.b64decode(kept))
    raw[draw.draw(st.integers(0, len(raw) - 1))] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(SealBroken):
        house.open(f"{head}.{base64.b64encode(raw).decode()}", *PLACE)


def test_the_same_twice_does_not_look_the_same_and_shows_nothing_of_the_text_or_of_the_key() -> None:
    house = sealing(NEW)
    first, second = (house.seal("whsec_a secret", *PLACE) for _ in range(2))
    assert first != second
    assert "secret" not in str(base64.b64decode(first.rpartition(".")[2]))
    assert NEW[:8] not in repr(house)
    assert repr(b"\2\2\2\2") not in repr(house)


@pytest.mark.parametrize("sealed", ["", "whsec_plain", "sealed.", "sealed.000000000000.", "sealed.x.QQ==", "sealed"])
def test_what_was_never_sealed_is_not_opened(sealed: str) -> None:
    with pytest.raises(SealBroken):
        sealing(NEW).open(sealed, *PLACE)


def test_cut_short_it_does_not_open() -> None:
    house = sealing(NEW)
    head, _, kept = house.seal("a secret", *PLACE).rpartition(".")
    for length in (4, 12, 16, 20):
        with pytest.raises(SealBroken):
            house.open(f"{head}.{kept[:length]}", *PLACE)


def test_of_several_keys_the_first_seals_and_all_open() -> None:
    before, both, after = sealing(OLD), sealing(NEW, OLD), sealing(NEW)
    sealed = before.seal("a secret", *PLACE)
    assert both.open(sealed, *PLACE) == "a secret"
    with pytest.raises(KeyMissing, match=before.first.id):
        after.open(sealed, *PLACE)
    again = both.again(sealed, *PLACE)
    assert again.startswith(both.current)
    assert after.open(again, *PLACE) == "a secret"


def test_without_keys_nothing_is_sealed_or_opened() -> None:
    sealed = sealing(NEW).seal("a secret", *PLACE)
    with pytest.raises(NoKeys):
        Sealing().seal("a secret", *PLACE)
    with pytest.raises(NoKeys):
        Sealing().open(sealed, *PLACE)


def test_the_key_of_a_data_folder_is_made_once_and_is_ours_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    made = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert {each.communicate(timeout=60)[0] for each in made} == {kept_keys(folder)[0].id}
    assert [each.name for each in folder.iterdir()] == [KEYS_FILE]
    assert stat.S_IMODE((folder / KEYS_FILE).stat().st_mode) == 0o600


def test_keys_are_read_one_a_line_with_remarks_in_either_alphabet() -> None:
    fancy = base64.urlsafe_b64encode(b"\xff" * 32).decode()
    keys = read_keys(f"# since May\n{fancy}  # the new one\n\n{OLD},{NEW}\n", "a test")
    assert len({key.id for key in keys}) == 3
    assert keys[0].id == read_keys(base64.b64encode(b"\xff" * 32).decode(), "a test")[0].id


@pytest.mark.parametrize("text", ["", "# none", "hello", "QUJD", OLD[:-4], f"{OLD} short", "ключ", "=" * 44])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeysUnusable) as refused:
        read_keys(text, "SECRETS_KEYS")
    assert "SECRETS_KEYS" in str(refused.value)
    assert OLD[:-4] not in str(refused.value)
