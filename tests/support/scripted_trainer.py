"""A trainer without torch, for tests of the worker: it starts in a tenth of a second and computes hashes.

It is confined, speaks, checkpoints, stops and resumes as the real one does, follows its job's plan
(`trainer_plan`), and hands over the files of DATA_DIR/template, a run of the real one. What it has computed
ends in data_report.json: the last link of a chain that depends on every step. A study's figures are made of
that link too, so that a comparison shows whether each of its arms computed what it should.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from trainer_plan import Plan, read_plan, trace

from fdkd_core.atomic_files import write_json_atomic
from fdkd_core.errors import FDKDError
from worker.trainer import announce_ready, confine

KEEP = 2


def chain(steps: int) -> str:
    """What an undisturbed run of so many steps computes."""
    link = ""
    for step in range(steps):
        link = hashlib.sha256(f"{link}{step}".encode()).hexdigest()
    return link


class Run:
    def __init__(self, plan: Plan, spec: dict[str, Any], out: Path, events_fd: int) -> None:
        self.plan = plan
        self.spec = spec
        self.out = out
        self.checkpoints = out / "work" / "student"
        self.events = os.fdopen(events_fd, "w", buffering=1)
        self.steps = int(plan.settings.get("steps", 10))
        self.step_s = plan.settings.get("step_s", 0.02)
        self.every = int(plan.settings.get("every", 3))
        self.is_stopping = False
        signal.signal(signal.SIGTERM, self.stop)

    def stop(self, *_: object) -> None:
        self.is_stopping = True

    def say(self, event: str, **fields: Any) -> None:
        record = {"event": event, "time": time.time(), **fields}
        with (self.out / "events.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")
        self.events.write(json.dumps(record) + "\n")

    def restore(self) -> tuple[int, str]:
        # A folder without its file was being removed when the trainer was killed.
        for path in sorted(self.checkpoints.glob("step-*/state.json"), reverse=True):
            document = json.loads(path.read_text())
            return document["step"], document["link"]
        return 0, ""

    def save(self, step: int, link: str) -> None:
        folder, unfinished = self.checkpoints / f"step-{step:010d}", self.checkpoints / "unfinished"
        unfinished.mkdir(parents=True, exist_ok=True)
        write_json_atomic(unfinished / "state.json", {"step": step, "link": link})
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)  # whole or not at all, as the real one's
        for old in sorted(self.checkpoints.glob("step-*"), reverse=True)[KEEP:]:
            shutil.rmtree(old)
        self.say("checkpoint", phase="student", step=step)

    def train(self) -> int:
        self.out.mkdir(exist_ok=True)
        if (self.out / "result.json").exists():
            return 0
        self.plan.reach("restore")
        self.say("run_started", phases=[{"name": "student", "total_steps": self.steps}])
        step, link = self.restore()
        self.say("phase_started", phase="student", step=step, total_steps=self.steps, resumed=step > 0)
        trace(f"student from {step}")
        while step < self.steps:
            if self.is_stopping:
                self.save(step, link)
                return 75
            self.plan.reach(f"student:{step}")
            time.sleep(self.step_s)
            link = hashlib.sha256(f"{link}{step}".encode()).hexdigest()
            step += 1
            self.say("step", phase="student", step=step, job_step=step, epoch=1, loss=1 / step, lr=0.1)
            if step % self.every == 0:
                self.save(step, link)
        self.save(step, link)
        self.say("phase_finished", phase="student", epochs=1, best_epoch=1, stopped_early=False, seconds=0.1)
        self.say("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
        self.plan.reach("finalise")
        self.hand_over(link)
        return 0

    def conclude(self, arms: Path) -> int:
        """A comparison: no training, only the results of its arms."""
        self.out.mkdir(exist_ok=True)
        self.say("run_started", phases=[])
        self.say("phase_started", phase="finalise", step=0, total_steps=0, resumed=False)
        trace("concludes")
        self.plan.reach("finalise")
        from scripted_results import compare_result  # and with it the spec's models, which few need

        result = compare_result(json.loads(arms.read_text())["arms"])
        (self.out / "report").mkdir(exist_ok=True)
        (self.out / "report" / "arms.csv").write_text("\n".join(arm.label for arm in result.arms))
        write_json_atomic(self.out / "result.json", result.model_dump(mode="json"))
        return 0

    def hand_over(self, link: str) -> None:
        template = self.out.resolve().parents[3] / "template"
        shutil.rmtree(self.out / "student", ignore_errors=True)
        shutil.copytree(template / "student", self.out / "student")
        write_json_atomic(self.out / "data_report.json", {"link": link})
        result = json.loads((template / "result.json").read_text())
        if self.spec["kind"] == "study":
            from scripted_results import study_result

            result = study_result(self.spec, link, result).model_dump(mode="json")
        shutil.rmtree(self.out / "work")
        write_json_atomic(self.out / "result.json", {**result, "teacher_bundle": None})


def main() -> int:
    split = sys.argv.index("--")
    confinement = argparse.ArgumentParser()
    confinement.add_argument("--worker-pid", type=int)
    confinement.add_argument("--silence-s", type=float)
    confinement.add_argument("--memory-bytes", type=int)
    confinement.add_argument("--standby", action="store_true")
    confine(confinement.parse_args(sys.argv[1:split]))
    core = argparse.ArgumentParser()
    core.add_argument("paths", nargs=3, type=Path)
    core.add_argument("--events-fd", type=int)
    core.add_argument("--arms", type=Path)
    options, _ = core.parse_known_args(sys.argv[split + 1 :])
    plan = read_plan(sys.argv)
    trace("start")
    plan.reach("start")
    announce_ready(options.events_fd)
    run = Run(plan, json.loads(options.paths[0].read_text()), options.paths[2], options.events_fd)
    try:
        return run.train() if options.arms is None else run.conclude(options.arms)
    except FDKDError as error:
        run.say("run_failed", code=error.code, message=str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
