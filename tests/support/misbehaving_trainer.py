"""The real trainer, which does what its job's plan says (`trainer_plan`) and never puts off a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from trainer_plan import read_plan, trace

from worker import trainer


def main() -> int:
    plan = read_plan(sys.argv)
    trace("start")
    plan.reach("start")
    announce = trainer.announce_ready

    def announce_and_patch(events_fd: int) -> None:
        patch()
        announce(events_fd)

    def patch() -> None:
        """After the confinement, so that the import is confined too."""
        import fdkd_core.run
        from fdkd_core.training import checkpoint

        checkpoint.MIN_COST_RATIO = 0.0  # checkpoints exactly where the spec puts them
        run = fdkd_core.run.run

        def planned(
            *arguments: Any,
            on_event: Callable[[dict[str, Any]], None],
            should_stop: Callable[[], bool],
            **options: Any,
        ) -> Any:
            phase, step = "", 0

            def hear(event: dict[str, Any]) -> None:
                nonlocal phase, step
                on_event(event)
                if event["event"] == "phase_started":
                    phase, step = event["phase"], event["step"]
                    trace(f"{phase} from {step}")
                    plan.reach(phase)

            def ask() -> bool:
                nonlocal step
                plan.reach(f"{phase}:{step}")
                step += 1
                return should_stop()

            return run(*arguments, on_event=hear, should_stop=ask, **options)

        fdkd_core.run.run = planned

    trainer.announce_ready = announce_and_patch
    return trainer.main()


if __name__ == "__main__":
    sys.exit(main())
