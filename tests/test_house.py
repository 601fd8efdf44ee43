"""The house: which room may import from which, and how large a file may grow."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 350                # lines of a file

# The floor of each room, and of each file that is a room of its own. A file imports from lower floors and its own room.
FLOORS = {
    "utils": 0, "layers": 0,
    "networks": 1, "parallel": 1, "options": 1,
    "losses": 2, "images": 2,
    "pipeline": 3, "solar": 3,
    "preparation": 4, "visuals": 4, "evaluation": 4, "synthetic_sun": 4,
    "training": 5, "generation": 5, "whole_sun": 5, "download": 5,
    "model": 6,
    "__init__": 7,               # its functions lead to the model and to other rooms
    "commands": 8,
}
SOURCES = sorted([*ROOT.glob("pix2pixCC_*.py"), *ROOT.glob("pix2pixcc/**/*.py")])


def room_of(module):
    """The room of a dotted name: `pix2pixcc.solar.orbits` is in solar, a command in commands."""
    if module.startswith("pix2pixCC_"):
        return "commands"
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    """(module, names) of every import of this project in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports name the whole path"
            found = [(node.module or "", [alias.name for alias in node.names])]
        else:
            found = [(alias.name, []) for alias in node.names] if isinstance(node, ast.Import) else []
        yield from ((module, names) for module, names in found if module.startswith(("pix2pixcc", "pix2pixCC_")))


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_file_imports_from_lower_floors_only(path):
    here = room_of(module_of(path))
    for module, names in imports(path):
        for there in [room_of(f"{module}.{name}") for name in names] if module == "pix2pixcc" else [room_of(module)]:
            allowed = FLOORS[there] < FLOORS[here] or (there == here and here != "commands")
            name = path.relative_to(ROOT)
            assert allowed, f"{name} ({here}, floor {FLOORS[here]}) imports {module} (floor {FLOORS[there]})"
            assert there != "options" or here == "commands", f"{name}: flags are the commands' business"


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_file_is_one_idea(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    names = {target.id for node in ast.parse(text).body if isinstance(node, ast.Assign) for target in node.targets
             if isinstance(target, ast.Name)}
    assert "__all__" not in names


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_no_private_name_crosses_a_file(path):
    for module, names in imports(path):
        private = [name for name in [*module.split("."), *names] if name.startswith("_")]
        assert not private, f"{path.relative_to(ROOT)} imports {', '.join(private)} of {module}"


@pytest.mark.parametrize("name", ["networks.py", "pipeline.py", "options.py", "utils.py"])
def test_the_published_names_at_the_root_lead_into_the_package(name):
    assert (ROOT / name).is_symlink() and (ROOT / name).resolve() == ROOT / "pix2pixcc" / name
