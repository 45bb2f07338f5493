"""`python -m fdkd_core SPEC.yaml DATA OUT_DIR`: the product without the service.

Exit codes: 0 done; 1 unexpected failure; 2 bad input, explained in OUT_DIR/report.json; 3 training diverged;
4 the disk is full or a checkpoint cannot be used; 75 stopped by SIGTERM or SIGINT after a checkpoint, and the
same command resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console

from fdkd_core.console import TerminalProgress, show_problems, show_result
from fdkd_core.errors import FDKDError, InputError, TrainingDivergedError, TrainingInterrupted
from fdkd_core.events import Event
from fdkd_core.options import RunOptions
from fdkd_core.spec import DistillSpec, TrainSpec, parse_spec
from fdkd_core.spec.loading import MAX_SPEC_BYTES
from fdkd_core.workspace import write_problem_report

EXIT_BAD_INPUT, EXIT_DIVERGED, EXIT_FAILED, EXIT_INTERRUPTED = 2, 3, 4, 75


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    errors = Console(stderr=True)
    try:
        spec = parse_spec(_read_spec(options.spec))
        return _run(spec, options, errors)
    except InputError as error:
        show_problems(errors, error)
        if all(problem.code != "output_in_use" for problem in error.problems):
            write_problem_report(options.out_dir, error)
        return EXIT_BAD_INPUT
    except TrainingInterrupted as error:
        errors.print(f"[yellow]{error}[/]", soft_wrap=True)
        return EXIT_INTERRUPTED
    except TrainingDivergedError as error:
        errors.print(f"[bold red]training diverged:[/] {error}", soft_wrap=True)
        return EXIT_DIVERGED
    except FDKDError as error:
        errors.print(f"[bold red]{error.code}:[/] {error}", soft_wrap=True)
        return EXIT_FAILED


def _run(spec: DistillSpec | TrainSpec, options: argparse.Namespace, errors: Console) -> int:
    from fdkd_core.run import run  # torch takes seconds to import; a typo in the spec should not wait for it

    stop = StopRequest()
    stop.listen()
    references = [spec.teacher.model] if isinstance(spec, DistillSpec) and spec.teacher.model else []
    with TerminalProgress(errors) as progress:
        pipe = os.fdopen(options.events_fd, "w", buffering=1) if options.events_fd is not None else None

        def on_event(event: Event) -> None:
            if pipe is not None:
                pipe.write(json.dumps(event, sort_keys=True) + "\n")
            if not options.quiet:
                progress(event)

        try:
            result = run(
                spec,
                options.data,
                options.out_dir,
                options=RunOptions(
                    device=options.device,
                    threads=options.threads,
                    manifest=options.manifest,
                    # A path in a spec is meant from where the spec lies.
                    models={name: options.spec.parent / name for name in references},
                    cache_dir=options.cache_dir,
                    decode_workers=options.decode_workers,
                ),
                on_event=on_event,
                should_stop=lambda: stop.requested,
            )
        except FDKDError as error:
            on_event({"event": "run_failed", "code": error.code, "message": str(error)})
            raise
    show_result(Console(), result, options.out_dir)
    return 0


class StopRequest:
    """SIGTERM and SIGINT ask for a checkpoint at the next step; a second SIGINT ends at once."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Takes over the two signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        # Only a flag: raising here could leave a half-taken step behind.
        self.requested = True


def _read_spec(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SPEC_BYTES + 1)
    except OSError as error:
        _parser().error(f"cannot read {path}: {error.strerror}")


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1024:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 1024")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fdkd_core",
        description="Distil a student of one modality from a teacher of another; train its matched control.",
        epilog="Exit codes: 0 done, 2 bad input, 3 diverged, 4 storage, 75 stopped (run again to resume).",
    )
    parser.add_argument("spec", type=Path, metavar="SPEC.yaml", help="the job, as YAML or JSON")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder, .zip, .tar, .npz or .parquet")
    parser.add_argument(
        "out_dir", type=Path, metavar="OUT_DIR", help="made, or resumed when it is this job's"
    )
    parser.add_argument("--manifest", help="manifest inside DATA, where there are several")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default)")
    parser.add_argument("--threads", type=_positive, help="CPU threads (default: all usable cores)")
    parser.add_argument(
        "--decode-workers", type=_positive, help="processes that decode files (default: by amount)"
    )
    parser.add_argument("--cache-dir", type=Path, help="where decoded data too large for memory go")
    parser.add_argument("--events-fd", type=int, help="also write events as JSON lines to this descriptor")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


if __name__ == "__main__":
    sys.exit(main())
