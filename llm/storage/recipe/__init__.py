"""Recipes: all that decides a step's result; what of it changed; and the code and libraries that take part."""

from llm.storage.recipe.changes import Change, changes
from llm.storage.recipe.libraries import pinned
from llm.storage.recipe.recipe import Parts, Recipe, newest_name, recipe_name

__all__ = ["Change", "Parts", "Recipe", "changes", "newest_name", "pinned", "recipe_name"]
