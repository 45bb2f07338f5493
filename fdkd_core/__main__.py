"""`python -m fdkd_core SPEC.yaml DATA OUT_DIR`: the product without the service.

Exit codes: 0 done; 1 unexpected failure; 2 bad input, explained in OUT_DIR/report.json; 3 training diverged
(of a comparison: its control, or every method); 4 the disk is full, OUT_DIR cannot be made or written, or a
checkpoint cannot be used; 5 out of memory; 6 the student did not pass a gate of its job, and
OUT_DIR/refused.json has the figures; 75 stopped by SIGTERM or SIGINT after a checkpoint, and the same command
resumes.
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
from rich.markup import escape

from fdkd_core.console import TerminalProgress, show_problems, show_result
from fdkd_core.errors import (
    FDKDError,
    GateFailedError,
    InputError,
    OutOfMemoryError,
    StorageError,
    TrainingInterrupted,
)
from fdkd_core.events import Event
from fdkd_core.options import RunOptions
from fdkd_core.spec import AnyJobSpec, parse_spec
from fdkd_core.spec.loading import MAX_SPEC_BYTES
from fdkd_core.spec.named_models import named_models
from fdkd_core.workspace import write_problem_report

MAX_SECRET_BYTES = 4096


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
            return _leave_report(options.out_dir, error, errors)
        return error.exit_code
    except TrainingInterrupted as error:
        errors.print(f"[yellow]{error}[/]", soft_wrap=True)
        return error.exit_code
    except OutOfMemoryError as error:
        sys.stderr.write(f"{error.code}: {error}\n")  # the console would import more, with nothing left
        return error.exit_code
    except FDKDError as error:
        errors.print(f"[bold red]{error.code}:[/] {escape(str(error))}", soft_wrap=True)
        return error.exit_code


def _leave_report(folder: Path, error: InputError, errors: Console) -> int:
    """Writes the problems to a file too; where there is no place for it, the status is that of storage."""
    try:
        write_problem_report(folder, error)
    except StorageError as failed:
        errors.print(f"[bold red]{failed.code}:[/] {escape(str(failed))}", soft_wrap=True)
        return failed.exit_code
    return error.exit_code


def _run(spec: AnyJobSpec, options: argparse.Namespace, errors: Console) -> int:
    from fdkd_core.run import run  # torch takes seconds to import; a typo in the spec should not wait for it

    stop = StopRequest()
    stop.listen()
    references = [model.reference for model in named_models(spec).values()]
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
                    processes=options.processes,
                    manifest=options.manifest,
                    # A path in a spec is meant from where the spec lies.
                    models={name: options.spec.parent / name for name in references},
                    checkpoint_secret=options.checkpoint_secret_file,
                    cache_dir=options.cache_dir,
                    decode_workers=options.decode_workers,
                    teacher_cache_dir=options.teacher_cache_dir,
                    teacher_cache_bytes=options.teacher_cache_bytes,
                    arm_results=options.arms,
                ),
                on_event=on_event,
                should_stop=lambda: stop.requested,
            )
        except FDKDError as error:
            failed: Event = {"event": "run_failed", "code": error.code, "message": str(error)}
            if isinstance(error, InputError | GateFailedError):
                failed["problems"] = [problem.as_dict() for problem in error.problems]
            on_event(failed)
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


def _secret(path: str) -> bytes:
    """The content of a file with a secret; read at once, so that a wrong path is a usage error."""
    try:
        with open(path, "rb") as file:
            secret = file.read(MAX_SECRET_BYTES + 1).strip()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {path}: {error.strerror}") from None
    if not 16 <= len(secret) <= MAX_SECRET_BYTES:
        raise argparse.ArgumentTypeError(f"{path} must hold 16 to {MAX_SECRET_BYTES} bytes")
    return secret


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1024:
        raise argparse.ArgumentTypeError(f"{number} is not between 1 and 1024")
    return number


def _bytes(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than nothing")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fdkd_core",
        description="Distil a student of one modality from a teacher of another; train its matched control.",
        epilog="Exit codes: 0 done, 2 bad input, 3 diverged (of a comparison: its control, or every "
        "method), 4 storage, 5 out of memory, 6 gate not passed, 75 stopped (run again to resume).",
    )
    parser.add_argument("spec", type=Path, metavar="SPEC.yaml", help="the job, as YAML or JSON")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder, .zip, .tar, .npz or .parquet")
    parser.add_argument(
        "out_dir", type=Path, metavar="OUT_DIR", help="made, or resumed when it is this job's"
    )
    parser.add_argument("--manifest", help="manifest inside DATA, where there are several")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default)")
    parser.add_argument(
        "--threads", type=_positive, help="CPU threads of all processes together (default: all usable cores)"
    )
    parser.add_argument(
        "--processes",
        type=_positive,
        help="that train each model (default: resources.gpus of the spec)",
    )
    parser.add_argument(
        "--decode-workers", type=_positive, help="processes that decode files (default: by amount)"
    )
    parser.add_argument("--cache-dir", type=Path, help="where decoded data too large for memory go")
    parser.add_argument(
        "--checkpoint-secret-file", type=_secret, metavar="FILE", help="signs checkpoints; 16 bytes or more"
    )
    parser.add_argument(
        "--teacher-cache-dir", type=Path, metavar="DIR", help="where jobs share a teacher's outputs"
    )
    parser.add_argument(
        "--teacher-cache-bytes",
        type=_bytes,
        metavar="N",
        default=RunOptions.teacher_cache_bytes,
        help="room for them (default: 4 GiB); the least recently used go first, 0 keeps none",
    )
    parser.add_argument(
        "--arms",
        type=Path,
        metavar="ARMS.json",
        help="conclude a comparison from results of its arms; DATA is not read",
    )
    parser.add_argument("--events-fd", type=int, help="also write events as JSON lines to this descriptor")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return parser


if __name__ == "__main__":
    sys.exit(main())
