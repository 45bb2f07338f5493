"""One attempt of a job, from its claim to its outcome: fetch, train, publish or say what went wrong."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from fdkd_core.atomic_files import storage_errors
from fdkd_core.errors import FDKDError, StorageError
from service.context import Context
from service.errors import StaleAttemptError
from service.jobs import transitions
from service.jobs.families import ready_members
from service.jobs.losses import backoff_s, give_back, lose
from service.jobs.states import JobEventType
from service.tables import Job
from worker.attempt_folder import AttemptFolder, NoFolderError, make_attempt_folder
from worker.database_patience import persist
from worker.inputs import LocalInputs, fetch_inputs, find_inputs
from worker.lease import Lease
from worker.observation import MAX_LOG_LINES, Observation
from worker.outcomes import Action, Verdict, judge, judge_error
from worker.publishing import Publication, publish, store_artifacts
from worker.reporting import Reporter, num_log_lines
from worker.standby import EVENTS_FD, Trainers
from worker.supervision import Ended, StopReason, supervise

_log = logging.getLogger(__name__)

T = TypeVar("T")


class ShutdownError(Exception):
    """The worker is being shut down."""


class Attempt:
    """One attempt, which its claim has already begun.

    Args:
        context: Settings, database, storage; `stopping` is set when the worker is to end.
        job: As the claim returned it.
        claimed_at: Moment before the claim, on the monotonic clock.
        trainers: Of the slot, whose thread this runs in.
    """

    def __init__(self, context: Context, job: Job, claimed_at: float, trainers: Trainers) -> None:
        self._context = context
        self._trainers = trainers
        self._settings = context.settings
        self._job = job
        self._shutdown = context.stopping
        self._lease = Lease(context.database, context.settings, job.id, job.attempt, claimed_at)
        self._observation = Observation(progress=job.progress)
        self._folder: AttemptFolder | None = None

    def run(self) -> Action | None:
        """Does the whole attempt.

        Returns:
            How the trainer ended; None when it was ended, or when that was not for this worker to judge.
        """
        with self._lease:
            try:
                return self._run()
            except StaleAttemptError:
                _log.warning("fenced: attempt %d of %s writes nothing more", self._job.attempt, self._job.id)
            except Exception as error:
                # Our own fault, or the database's: the job must not be left to wait for its lease to end.
                _log.exception("attempt %d of %s failed in the worker", self._job.attempt, self._job.id)
                self._release(error)
        return None

    def _run(self) -> Action | None:
        self._observation.log_room = MAX_LOG_LINES - self._patiently(
            lambda session: num_log_lines(session, self._job.id), "count log lines"
        )
        reporter = Reporter(self._context.database, self._lease, self._job, self._observation)
        publication = None
        try:
            ended, verdict = self._prepare_and_train()
            if verdict.action is Action.PUBLISH and not self._lease.is_cancelled:
                verdict, publication = self._store()
        except ShutdownError:
            ended, verdict = Ended(0, StopReason.SHUTDOWN), Verdict(Action.STOP)
        finally:
            reporter.close()
        if self._lease.is_lost:
            raise StaleAttemptError
        event = self._conclude(ended, verdict, publication)
        _log.info("attempt %d of %s: %s", self._job.attempt, self._job.id, event)
        self._tidy(event)
        if event is JobEventType.YIELDED and ended.reason is not None:
            self._context.wake_up.job(self._job.id)
        if self._job.parent_id is not None:
            self._ring_for_family(self._job.parent_id)
        return verdict.action if ended.reason is None else None

    def _prepare_and_train(self) -> tuple[Ended, Verdict]:
        try:
            inputs = self._prepare()
            assert self._folder is not None
            ended, verdict = self._train(self._folder, inputs)
            if verdict.action is Action.START_OVER and ended.reason is None:
                message = (
                    f"What the attempt before left cannot be used, so this one starts over: {verdict.message}"
                )
                self._observation.add_event("job.warning", message=message)
                self._folder.start_over()
                ended, verdict = self._train(self._folder, inputs)
                if verdict.action is Action.START_OVER:
                    verdict = Verdict(Action.LOSE, "crashed", verdict.message)
            return ended, verdict
        except NoFolderError as error:
            return Ended(0, None), Verdict(Action.NOT_STARTED, "not_started", str(error))
        except StorageError as error:
            # The disk of this machine; that of another may have room.
            return Ended(0, None), Verdict(Action.LOSE, error.code, str(error))
        except (FDKDError, OSError) as error:
            return Ended(0, None), judge_error(error)

    def _prepare(self) -> LocalInputs:
        """Makes the attempt's folder and puts it on record.

        Raises:
            NoFolderError: This worker can write nowhere.
            FDKDError: The inputs cannot be had, or the disk is full.
        """
        self._observation.set_phase("preparing")
        previous = self._patiently(self._previous_folder, "look for an earlier attempt")
        stored = self._patiently(lambda session: find_inputs(session, self._job), "find the inputs")
        with storage_errors():
            folder = make_attempt_folder(self._settings.work_dir, self._job.id, self._job.attempt, previous)
            self._folder = folder
            inputs = fetch_inputs(self._context.storage, self._job, stored, folder.path)
        self._patiently(
            lambda session: transitions.hold(session, self._job.id, self._job.attempt, work_key=folder.key),
            "record the attempt's folder",
        )
        folder.remove_others()
        return inputs

    def _previous_folder(self, session: Session) -> str | None:
        if self._job.work_key is not None or self._job.retry_of is None:
            return self._job.work_key
        repeated = session.get(Job, self._job.retry_of)
        return None if repeated is None else repeated.work_key

    def _train(self, folder: AttemptFolder, inputs: LocalInputs) -> tuple[Ended, Verdict]:
        """Runs the trainer once."""
        if self._shutdown.is_set():
            raise ShutdownError
        observation = self._observation
        observation.begin()
        try:
            child = self._trainers.start(
                self._arguments(inputs),
                folder=folder.path,
                temporary=folder.temporary,
                on_line=observation.add_line,
                on_event=observation.hear,
            )
        except OSError as error:
            return Ended(0, None), Verdict(Action.NOT_STARTED, "not_started", f"No trainer: {error.strerror}")
        self._lease.on_renewed = child.beat
        try:
            ended = supervise(
                child,
                observation,
                self._lease,
                self._settings,
                self._shutdown,
                when_training=self._trainers.prepare,
            )
        finally:
            self._lease.on_renewed = lambda: None
            child.close()
        return ended, judge(ended.status, observation, folder.out)

    def _arguments(self, inputs: LocalInputs) -> list[str]:
        """Of the core."""
        settings = self._settings
        threads = settings.trainer_threads or max(1, len(os.sched_getaffinity(0)) // settings.worker_slots)
        arguments = [str(inputs.spec), str(inputs.data), "out", "--events-fd", EVENTS_FD]
        arguments += ["--device", settings.device, "--threads", str(threads), "--cache-dir", "cache"]
        if settings.teacher_cache_bytes:
            arguments += ["--teacher-cache-dir", str(settings.teacher_cache_dir)]
            arguments += ["--teacher-cache-bytes", str(settings.teacher_cache_bytes)]
        return arguments if inputs.arms is None else [*arguments, "--arms", str(inputs.arms)]

    def _store(self) -> tuple[Verdict, Publication | None]:
        assert self._folder is not None
        self._observation.set_phase("publishing")
        try:
            with storage_errors():
                publication = store_artifacts(
                    self._context.storage, self._job, self._folder.out, check=self._check_still_wanted
                )
        except (FDKDError, OSError) as error:
            return judge_error(error), None
        return Verdict(Action.PUBLISH), publication

    def _check_still_wanted(self) -> None:
        if self._lease.is_lost:
            raise StaleAttemptError
        if self._shutdown.is_set():
            raise ShutdownError

    def _conclude(self, ended: Ended, verdict: Verdict, publication: Publication | None) -> JobEventType:
        """Writes the outcome.

        Raises:
            StaleAttemptError: It came too late.
            DBAPIError: The database stayed away; the sweep will find the job when its lease has run out.
        """
        patience_ends = time.monotonic() + self._settings.lease_s
        write = self._outcome(ended, verdict, publication)

        def conclude() -> JobEventType:
            with self._context.database.write() as session:
                return write(session)

        return persist(
            lambda: self._lease.conclude(conclude),
            until=lambda: max(patience_ends, self._lease.runs_out_at),
            stop=self._shutdown,
            what=f"conclude {self._job.id}",
        )

    def _outcome(
        self, ended: Ended, verdict: Verdict, publication: Publication | None
    ) -> Callable[[Session], JobEventType]:
        """The transaction by which this attempt ends."""
        job, phase = self._job, self._observation.phase

        def succeed(session: Session) -> JobEventType:
            assert publication is not None
            publish(session, job, publication)
            return JobEventType.SUCCEEDED

        def stop(session: Session) -> JobEventType:
            transitions.apply(session, job.id, JobEventType.STOPPED, attempt=job.attempt)
            return JobEventType.STOPPED

        def fail(session: Session) -> JobEventType:
            error = verdict.as_error(phase)
            data = {"code": verdict.code, "phase": phase}
            transitions.apply(
                session, job.id, JobEventType.FAILED, attempt=job.attempt, data=data, error=error
            )
            return JobEventType.FAILED

        def count_as_loss(session: Session) -> JobEventType:
            is_stall = ended.reason is StopReason.STALLED
            return lose(
                session, job.id, job.attempt, self._settings,
                code="stalled" if is_stall else verdict.code,
                message="The trainer made no progress and was ended." if is_stall else verdict.message,
                # Where nothing ran, nothing crashed at a step.
                crash_step=self._observation.job_step if ended.status or ended.reason else None,
            )  # fmt: skip

        def back(session: Session) -> JobEventType:
            is_start = ended.reason is None and verdict.action is Action.NOT_STARTED
            return give_back(
                session, job.id, job.attempt,
                reason="not_started" if is_start else str(ended.reason or "stopped"),
                message=_what_happened(ended, verdict, self._settings.lease_s),
                after_s=backoff_s(self._settings, 0) if is_start else 0,
            )  # fmt: skip

        if self._lease.is_cancelled:
            return stop
        if publication is not None:
            return succeed
        if ended.reason is StopReason.STALLED:
            return count_as_loss
        was_ended = ended.reason is not None and ended.status < 0
        if was_ended or verdict.action in (Action.STOP, Action.NOT_STARTED):
            return back
        return fail if verdict.action is Action.FAIL else count_as_loss

    def _patiently(self, use: Callable[[Session], T], what: str) -> T:
        """Uses the database in one short transaction, again until it answers or the lease has run out."""

        def once() -> T:
            with self._context.database.write() as session:
                return use(session)

        return persist(once, until=lambda: self._lease.runs_out_at, stop=self._shutdown, what=what)

    def _ring_for_family(self, parent_id: str) -> None:
        """Tells other workers of those whose turn it is now; the sweep does when this is lost."""
        if not self._settings.broker_url:
            return
        try:
            with self._context.database.read() as session:
                ready = ready_members(session, parent_id)
        except SQLAlchemyError as error:
            _log.warning("cannot look for the family of %s: %s", self._job.id, type(error).__name__)
            return
        for job_id in ready:
            self._context.wake_up.job(job_id)

    def _tidy(self, event: JobEventType) -> None:
        """Frees the disk of all that no later attempt, and no retry, can use."""
        if event is JobEventType.SUCCEEDED:
            shutil.rmtree(self._settings.work_dir / self._job.id, ignore_errors=True)
        elif self._folder is not None:
            self._folder.keep_only_out()

    def _release(self, error: Exception) -> None:
        message = f"The worker failed: {type(error).__name__}."
        try:
            with self._context.database.write() as session:
                lose(
                    session, self._job.id, self._job.attempt, self._settings,
                    code="worker_failed", message=message,
                )  # fmt: skip
        except Exception:
            _log.exception("attempt %d of %s could not be released", self._job.attempt, self._job.id)


def _what_happened(ended: Ended, verdict: Verdict, lease_s: float) -> str | None:
    """For the user, of an attempt that is given back; that it took a signal is how, and not what."""
    if ended.reason is StopReason.LEASE_RAN_OUT:
        return (
            f"The worker did not get to renew its lease for {lease_s:g} s: its machine or the database was "
            "too slow, or could not be reached."
        )
    if ended.reason is not None and ended.status < 0:
        return "The trainer did not stop in time and was ended."
    return verdict.message or None
