"""The recipe: a Python object and a file, and every fault of the file named."""

from __future__ import annotations

from pathlib import Path

import pytest

from enroll_service.pipeline import PerturbRecipe, Recipe, RecipeUnusable
from enroll_service.settings import EnrollSettings


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("version = 1\n[perturb]\niterations = 40\n")
    recipe = Recipe.load(path)
    assert recipe == Recipe(perturb=PerturbRecipe(iterations=40))
    assert recipe.identity != Recipe().identity
    assert recipe.identity.startswith("1:")
    assert EnrollSettings(recipe=path, surrogates=("one",)).pipeline().recipe == recipe
    assert EnrollSettings().pipeline().recipe == Recipe()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[perturb]\niterationss = 3", "perturb.iterationss"),
        ("[perturb]\niterations = 0", "perturb.iterations"),
        ("version = 2", "version"),
        ("perturb = ", "no TOML"),
        ("\xff", "no TOML"),
        ("# " + "x" * 70_000, "too large"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeUnusable, match=told):
        Recipe.load(path)
    with pytest.raises(RecipeUnusable, match="cannot be read"):
        Recipe.load(tmp_path / "none.toml")
