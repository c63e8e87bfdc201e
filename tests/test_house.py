"""The house: arrows between modules run one way, nothing goes round in circles, and files stay short."""

import ast
from pathlib import Path

import sdd

ROOT = Path(sdd.__file__).parent
# From the top down; a module may import what stands below it. Of several in one line none may import another.
LAYERS = (
    ("__main__",),
    ("apps",),
    ("evaluate",),
    ("methods",),
    ("training",),
    ("export",),
    ("editor",),
    ("given", "card"),
    ("beyond",),
    ("editor_file", "paper", "domains", "strengths"),
    ("manipulators",),
    ("teachers",),
    ("io", "device"),
    ("nets",),
    ("errors", "memory"),
)
# A departure is handed a step of the paper's; an editor knows the library of domains.
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
LONG = 600  # lines


def modules():
    return {".".join(("sdd", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p
            for p in ROOT.rglob("*.py")}  # fmt: skip


def imports(path):
    """Modules of ours that a file imports, wherever it does, for typing too."""
    found, every = set(), modules()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from package import module` is an import of the module
            names = [full if (full := f"{node.module}.{a.name}") in every else node.module for a in node.names]
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), "relative imports hide where they go"
            continue
        found |= {name for name in names if name in every}
    return found


def part(module):
    return module.split(".")[1] if "." in module else ""


def test_arrows_run_down():
    for module, path in modules().items():
        if not part(module):
            continue  # the package itself imports, lazily, what users name
        for other in imports(path):
            here, there = part(module), part(other)
            assert here == there or not there or RANK[here] < RANK[there], f"{module} imports {other}"


def test_paper_knows_nothing_of_ours():
    for module, path in modules().items():
        if part(module) == "paper":
            strange = {part(name) for name in imports(path)} - {
                "paper",
                "manipulators",
                "teachers",
                "nets",
                "device",
                "errors",
            }
            assert not strange, f"{module} imports {strange}"


def test_there_are_no_circles():
    graph = {module: imports(path) - {module} for module, path in modules().items()}
    for package in ("sdd", "sdd.domains", "sdd.io"):  # what users name is imported when it is named
        graph[package] = set()
    done, path = set(), []

    def visit(module):
        assert module not in path, " → ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for other in sorted(graph[module]):
                visit(other)
            path.pop()
            done.add(module)

    for module in sorted(graph):
        visit(module)


def test_files_are_short_or_say_why():
    for path in ROOT.rglob("*.py"):
        lines = path.read_text().splitlines()
        head = "\n".join(lines[:12])
        assert len(lines) <= LONG or "one file because" in head, f"{path.name} has {len(lines)} lines"


def test_nets_import_nothing_of_ours():
    for module, path in modules().items():
        if part(module) == "nets":
            assert {part(name) for name in imports(path)} <= {"nets"}, module
