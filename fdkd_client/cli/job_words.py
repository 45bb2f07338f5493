"""What a job does, in a sentence made from its spec."""

from __future__ import annotations

from fdkd_client.cli.terminal import plain
from fdkd_client.results import Job


def what(job: Job) -> str:
    """Who teaches whom on which data and by what, as markup."""
    spec = job.spec
    student = _part(spec.get("student"))
    data = plain(spec.get("dataset", job.dataset_id or "?"))
    if job.kind == "train":
        return f"trains {student} on {data}"
    if job.kind == "diagnose":
        return f"asks whether {_part(spec.get('teacher'))} could teach {student} on {data}"
    if job.kind == "compare":
        methods = _methods(spec.get("methods"))
        return f"compares what {_part(spec.get('teacher'))} teaches {student} on {data}, by {methods}"
    method = spec.get("method")
    name = method.get("name") if isinstance(method, dict) else None
    if name == "none":
        return f"trains {student} on {data}, without a teacher"
    others = spec.get("more_teachers")
    teachers = [spec.get("teacher"), *(others if isinstance(others, list) else ())]
    verb = "teaches" if len(teachers) == 1 else "teach"
    names = " and ".join(map(_part, teachers))
    by = "the method that a search finds (auto)" if name == "auto" else _method(method)
    return f"{names} {verb} {student} on {data}, by {by}{_fake(spec.get('teacher_view'))}"


def _methods(methods: object) -> str:
    """Those of a comparison."""
    if not isinstance(methods, list) or not methods:
        return "several methods"
    return ", ".join(_method(method) for method in methods)


def _method(method: object) -> str:
    """The name of a method; of a combination those of its parts."""
    if not isinstance(method, dict) or "name" not in method:
        return "fd_cmkd"
    parts = method.get("parts")
    if not isinstance(parts, list):
        return plain(method["name"])
    return " + ".join(_method(part.get("method")) for part in parts if isinstance(part, dict))


def _fake(view: object) -> str:
    """What a control that looks like a method is shown of the teacher."""
    return "" if view in (None, "paired") else f", with {plain(view).replace('_', ' ')} (a control)"


def _part(part: object) -> str:
    if not isinstance(part, dict):
        return "?"
    architecture = part.get("architecture")
    network = (
        f" ({architecture['name']})" if isinstance(architecture, dict) and "name" in architecture else ""
    )
    return plain(f"{part.get('modality', '?')}{network}")
