"""House rules that can be checked by reading the code."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("fdkd_core", "fdkd_client", "service", "worker")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
CORE = sorted((ROOT / "fdkd_core").rglob("*.py"))
BANNED_MODULES = {"utils", "helpers", "common", "misc", "manager"}


def imported_by(statement: str) -> set[str]:
    """Top-level modules loaded by a statement in a fresh interpreter."""
    script = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(found.stdout.split())


@pytest.mark.parametrize("module", ["fdkd_core", "fdkd_core.spec", "fdkd_core.errors"])
def test_the_spec_is_light(module: str) -> None:
    loaded = imported_by(f"import {module}")
    assert loaded.isdisjoint(
        {"torch", "numpy", "PIL", "onnxruntime", "pyarrow", "safetensors", "transformers"}
    )


@pytest.mark.parametrize("module", ["service.app", "service.jobs.sweep", "fdkd_client", "fdkd_client.cli"])
def test_server_and_client_run_without_torch(module: str) -> None:
    loaded = imported_by(f"import {module}")
    assert loaded.isdisjoint({"torch", "numpy", "onnxruntime", "pyarrow", "transformers"})


def test_only_networks_of_transformers_import_it() -> None:
    """It takes seconds, which a training of anything else must not pay."""
    assert "transformers" not in imported_by("import fdkd_core.run, fdkd_core.validate, worker.trainer")


def test_the_client_runs_without_the_server() -> None:
    assert imported_by("import fdkd_client.cli").isdisjoint(
        {"fastapi", "sqlalchemy", "celery", "service", "worker"}
    )


def test_transactions_begin_and_end_in_one_place() -> None:
    """Whoever needs one says `database.write()`; nothing commits half of a use case."""
    found = [
        f"{path.parent.name}/{path.name}:{node.lineno}"
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] in ("service", "worker") and path.name != "db.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("commit", "rollback", "begin")
        and ast.unparse(node.func.value).endswith(("session", "connection", "engine", "database"))
    ]
    assert found == []


def test_handlers_know_no_sql() -> None:
    """Routes parse, call one use case and answer."""
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "service").rglob("routes.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy")
    }
    assert found == set()


def test_data_and_modalities_run_without_torch() -> None:
    loaded = imported_by("import fdkd_core.data.dataset, fdkd_core.modalities, fdkd_core.data.batches")
    assert "torch" not in loaded


@pytest.mark.parametrize("extra", ["client", "service", None])
def test_only_the_core_brings_torch(extra: str | None) -> None:
    requirements = importlib.metadata.requires("fdkd") or []
    wanted = [r for r in requirements if "extra ==" not in r or (extra and f'extra == "{extra}"' in r)]
    assert wanted
    assert not [r for r in wanted if r.startswith(("torch", "onnx", "numpy", "pyarrow", "transformers"))]


def test_modules_are_named_for_what_they_hold() -> None:
    assert [path for path in SOURCES if path.stem in BANNED_MODULES] == []


def test_files_stay_small() -> None:
    assert {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 350} == {}


def test_user_bytes_are_never_unpickled_or_executed() -> None:
    """No call that can run code from a file: whatever the argument, there is a safe way here."""
    forbidden = {
        "torch.load", "torch.jit.load", "torch.export.load", "torch.package.PackageImporter",
        "pickle.load", "pickle.loads", "joblib.load", "yaml.unsafe_load", "yaml.full_load",
        "eval", "exec", "__import__", "importlib.import_module", "extractall",
    }  # fmt: skip
    found = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name in forbidden or name.split(".")[-1] in ("extractall", "from_pretrained"):
                found.append(f"{path.name}:{node.lineno} {name}")
            for keyword in node.keywords:
                allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in ("allow_pickle", "trust_remote_code") and not allowed:
                    found.append(f"{path.name}:{node.lineno} {keyword.arg}")
    assert found == []


def test_the_core_reads_no_environment() -> None:
    """The core takes arguments; what an environment variable means is the business of whoever calls it.

    Child processes are the exception: they are given a few of the parent's variables, and no secrets.
    """
    readers = [
        f"{path.name}:{node.lineno}"
        for path in CORE
        if not path.stem.endswith("_process")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv")
    ]
    assert readers == []
