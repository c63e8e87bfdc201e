"""What judges an edit must not have taught it: no module that trains can reach the judge, however it imports."""

import ast
from functools import cache
from pathlib import Path

import pytest

import sdd

ROOT = Path(sdd.__file__).parent
RECIPES = ROOT.parents[1] / "recipes"
JUDGE = "sdd.evaluate.judge"
TRAINS_THE_JUDGE = ("judge.py",)  # of the recipes: what makes the judge may know what it is
# Packages in which something is trained, or that such code is made of. `evaluate` measures, `apps` shows.
TRAINS = ("beyond", "device.py", "domains", "editor.py", "editor_file.py", "io", "manipulators", "methods", "nets")
TRAINS += ("paper", "teachers", "training")


@cache
def imported(source: str, module: str, package: bool = False) -> frozenset[str]:
    """Every module that a source text may import: absolute or relative, at the top or in a function, or by name.

    Args:
        module: the dotted name of the text's own module. package: whether it is an `__init__`.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")
            above = above[: len(above) - node.level + package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("sdd."):
            found.add(node.value)  # importlib.import_module("sdd.…")
    return frozenset(name for whole in found for name in _with_parents(whole))


def _with_parents(name: str) -> set[str]:
    """Importing a.b.c imports a and a.b, too."""
    parts = name.split(".")
    return {".".join(parts[: i + 1]) for i in range(len(parts))}


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def reaches(sources: dict[str, str], start: str, packages: frozenset[str] = frozenset()) -> bool:
    """Whether a module imports the judge, itself or through others."""
    seen, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        if module == JUDGE:
            return True
        if module in seen or module not in sources:
            continue
        seen.add(module)
        waiting += imported(sources[module], module, module in packages)
    return False


@pytest.fixture(scope="module")
def package():
    found = modules()
    sources = {name: path.read_text(encoding="utf-8") for name, path in found.items()}
    return sources, frozenset(name for name, path in found.items() if path.name == "__init__.py")


def test_training_never_sees_the_judge(package):
    sources, packages = package
    looked = [name for name, path in modules().items() if path.relative_to(ROOT).parts[0] in TRAINS]
    assert "sdd.training.train" in looked and "sdd.paper.algorithm" in looked
    assert [name for name in looked if reaches(sources, name, packages)] == []


def test_no_recipe_of_a_model_that_teaches_sees_the_judge(package):
    sources, packages = package
    recipes = {f"recipes.{path.stem}": path for path in RECIPES.glob("*.py")}
    assert "recipes.teacher" in recipes
    everything = sources | {name: path.read_text(encoding="utf-8") for name, path in recipes.items()}
    looked = [name for name, path in recipes.items() if path.name not in TRAINS_THE_JUDGE]
    assert [name for name in looked if reaches(everything, name, packages)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import sdd.evaluate.judge",
        "import sdd.evaluate.judge as j",
        "from sdd.evaluate.judge import Judge",
        "from sdd.evaluate import judge",
        "from sdd.evaluate import metrics, judge as j",
        "from ..evaluate import judge",
        "from ..evaluate.judge import Judge",
        "from .. import evaluate; from ..evaluate import judge",
        "def f():\n    from sdd.evaluate import judge",
        "if TYPE_CHECKING:\n    import sdd.evaluate.judge",
        'importlib.import_module("sdd.evaluate.judge")',
        "from sdd.training.other import anything",
        "from sdd.training import other",
    ],
)
def test_every_way_to_import_it_is_found(line):
    sources = {"sdd.training.bad": line, "sdd.training.other": "from sdd.evaluate import judge"}
    assert reaches(sources, "sdd.training.bad")
    assert not reaches({"sdd.training.good": "from sdd.evaluate import intervals"}, "sdd.training.good")
