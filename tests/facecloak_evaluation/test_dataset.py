"""People, selections and digests from folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from facecloak_evaluation.dataset import digest_of_photos, parse_slice, read_others, read_people
from facecloak_evaluation.errors import EvaluationInputInvalid


@pytest.fixture
def people(tmp_path: Path) -> Path:
    for name in ("dan", "ann", "cem", "bob"):
        (tmp_path / name).mkdir()
        for stem in ("enrol", "photo2", "photo10", "photo1"):
            (tmp_path / name / f"{stem}.jpg").write_bytes(f"{name} {stem}".encode())
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "notes.txt").write_text("no person")
    return tmp_path


def test_people_come_in_name_order_with_numbered_photos(people: Path) -> None:
    read = read_people(people)
    assert [person.name for person in read] == ["ann", "bob", "cem", "dan"]
    assert list(read[0].photos) == [1, 2, 10]
    assert read[0].enroll_photo.name == "enrol.jpg"
    assert [path.stem for path in read[0].numbered((10, 3, 1))] == ["photo10", "photo1"]
    assert [path.stem for path in read[0].enrolled((10,))] == ["enrol", "photo10"]
    assert [path.stem for path in read[0].enrolled(())] == ["enrol"]


@pytest.mark.parametrize(
    ("selection", "names"),
    [("2:3", ["bob", "cem"]), (":2", ["ann", "bob"]), ("4:", ["dan"]), ("2:2", ["bob"]), ("3:9", ["cem", "dan"])],
)
def test_a_selection_counts_from_one_and_includes_both_ends(people: Path, selection: str, names: list[str]) -> None:
    assert [person.name for person in read_people(people, selection=selection)] == names


@pytest.mark.parametrize("selection", ["", "3", "0:2", "3:2", "a:b", "-1:2", "1:2:3"])
def test_other_selections_are_refused(selection: str) -> None:
    with pytest.raises(EvaluationInputInvalid):
        parse_slice(selection)


def test_nobody_is_refused(people: Path) -> None:
    with pytest.raises(EvaluationInputInvalid, match="nobody"):
        read_people(people, selection="9:10")
    with pytest.raises(EvaluationInputInvalid, match="does not exist"):
        read_people(people / "none")


@pytest.mark.parametrize("missing", ["enrol", "photo"])
def test_a_person_needs_photos(people: Path, missing: str) -> None:
    for path in (people / "bob").glob(f"{missing}*"):
        path.unlink()
    with pytest.raises(EvaluationInputInvalid) as caught:
        read_people(people)
    assert caught.value.metadata["person"] == "bob"


def test_others_are_photos_only(people: Path) -> None:
    assert [path.stem for path in read_others(people / "ann")] == ["enrol", "photo1", "photo10", "photo2"]
    assert read_others(None) == ()
    with pytest.raises(EvaluationInputInvalid):
        read_others(people / "none")


def test_the_digest_tells_other_pictures_and_another_order(people: Path) -> None:
    photos = read_others(people / "ann")
    assert digest_of_photos(photos) == digest_of_photos(photos)
    assert digest_of_photos(photos) != digest_of_photos(photos[::-1])
    before = digest_of_photos(photos)
    photos[0].write_bytes(b"changed")
    assert digest_of_photos(photos) != before
