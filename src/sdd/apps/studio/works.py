"""What takes minutes, one after another: a queue with one worker, whose jobs are found again by a token."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict

from sdd.apps.studio.limits import MAX_WAITING
from sdd.errors import SddError, one_line

KEPT = 50  # jobs that are remembered

WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"


class Stopped(KeyboardInterrupt):
    """A job was asked to stop before it had anything to keep."""


class Job(ABC):
    """Something that takes its time.

    Attributes:
        token: nobody can guess it, so that it is its owner's alone.
        state: one of the above.
        phase: what is being done; `done` of `total` of it.
        sentence: what came of it.
        version: grows whenever there is something new to be seen.
    """

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(16)
        self.state, self.phase, self.sentence = WAITING, "", ""
        self.done, self.total, self.version = 0, 0, 0
        self._began = time.monotonic()
        self._first = 0
        self._asked = threading.Event()

    @abstractmethod
    def work(self) -> str:
        """Do it; what came of it, in one sentence."""

    @property
    def finished(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in (DONE, STOPPED, FAILED)

    @property
    def asked_to_stop(self) -> bool:
        """Whether somebody had enough."""
        return self._asked.is_set()

    def stop(self) -> None:
        """Ask it to stop."""
        self._asked.set()
        self.version += 1

    def report(self, what: str, done: int, total: int) -> None:
        """Take note of progress (`sdd.io.progress.Report`).

        Raises:
            Stopped: somebody had enough.
        """
        if what != self.phase:
            self.phase, self._began, self._first = what, time.monotonic(), done
        self.done, self.total = done, total
        self.version += 1
        if self.asked_to_stop and self.stops_at_once():
            raise Stopped("stopped")

    def stops_at_once(self) -> bool:
        """Whether there is nothing yet that could be kept."""
        return True

    @property
    def doing(self) -> str:
        """The phase, in a visitor's words."""
        return self.phase

    @property
    def seconds_left(self) -> float | None:
        """Of the phase, judged by its pace so far; None where nobody can tell."""
        counted = self.done - self._first
        if self.state != RUNNING or counted <= 0 or self.total <= 0:
            return None
        return (time.monotonic() - self._began) / counted * max(0, self.total - self.done)


class Works:
    """A queue of jobs, done one after another in the background."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._queue: queue.Queue[Job] = queue.Queue()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True, name="sdd-studio-works").start()

    def add(self, job: Job) -> Job:
        """Put a job last in the queue.

        Raises:
            SddError: too many wait.
        """
        with self._lock:
            if sum(not other.finished for other in self._jobs.values()) >= MAX_WAITING:
                raise SddError(f"{MAX_WAITING} trainings and comparisons are waiting already; try again later")
            while len(self._jobs) >= KEPT:
                oldest = next(token for token, other in self._jobs.items() if other.finished)
                del self._jobs[oldest]
            self._jobs[job.token] = job
        self._queue.put(job)
        return job

    def find(self, token: object) -> Job | None:
        """The job of a token."""
        return self._jobs.get(token) if isinstance(token, str) else None

    def ahead(self, job: Job) -> int:
        """How many jobs are to be done before this one."""
        with self._lock:
            before = 0
            for other in self._jobs.values():
                if other is job:
                    break
                before += not other.finished
            return before

    def _run(self) -> None:
        while True:
            self._do(self._queue.get())

    @staticmethod
    def _do(job: Job) -> None:
        if job.asked_to_stop:
            job.state, job.sentence = STOPPED, "stopped before it began"
            job.version += 1
            return
        job.state = RUNNING
        try:
            sentence = job.work()
            job.sentence, job.state = sentence, STOPPED if job.asked_to_stop else DONE
        except KeyboardInterrupt:  # `Stopped`, or what a training makes of it
            job.sentence, job.state = "stopped; there was nothing to keep yet", STOPPED
        except SddError as error:
            job.sentence, job.state = str(error), FAILED
        except Exception as error:  # the next job is somebody else's
            job.sentence = one_line(
                f"this should not have happened ({type(error).__name__}: {error}); please report it"
            )
            job.state = FAILED
        job.version += 1
