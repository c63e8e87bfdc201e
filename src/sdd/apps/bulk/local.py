"""The local engine: workers on this machine, as threads of this process or as processes of several threads each.

A process that dies (killed, or out of memory) is replaced, and what it was at is given out again; pictures that it dies
at again are tried one by one, and one at which it still dies is named in the manifest.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as ready
from multiprocessing.process import BaseProcess
from threading import Lock
from typing import Any

from sdd.apps.bulk.task import Report, Task
from sdd.apps.bulk.work import Order, Worker
from sdd.errors import SddError, one_line
from sdd.memory import keep_memory

START = "spawn"  # a network that has computed in a process does not survive its fork
MOST = 8  # threads of a worker, and workers of a CPU, that nobody asked for
AHEAD = 2  # tasks for each thread: one that it is at, and one that waits
DEATHS = 2  # of processes at one task, before its pictures are tried alone; then at one of these, before it is broken
HOPELESS = 5  # deaths of each process without an answer of any, before the run stops
DIED = "the process that edited it died, each time; it may need more memory than there is"


@dataclass(frozen=True)
class Crew:
    """How many workers, where they compute, and how many threads each has.

    Attributes:
        devices: of the workers, one each; None for the best there is.
        threads: each reads, edits and writes; one of a worker's computes at a time.
        cores: threads of a network's computation, of each worker; None leaves it to torch.
    """

    devices: tuple[str | None, ...]
    threads: int
    cores: int | None = None


def crew(device: str | None, workers: int | None) -> Crew:
    """Workers for this machine: one for each GPU; on a CPU one for two cores, which computes on both, at most eight."""
    import torch

    from sdd.device import pick_device

    cores = os.cpu_count() or 1
    found = pick_device(device)
    if found.type == "cuda" and (device is None or device == "cuda"):
        devices: list[str | None] = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        many = workers or len(devices)
        return Crew(tuple(devices[i % len(devices)] for i in range(many)), 1 + min(MOST, max(1, cores // many)))
    many = workers or (1 if found.type != "cpu" else min(MOST, max(1, cores // 2)))
    each = max(1, cores // many)
    return Crew((str(found),) * many, 1 + min(MOST, each), each if found.type == "cpu" else None)


def run(order: Order, tasks: Iterator[Task], crew: Crew) -> Iterator[Report]:
    """Edit tasks; a report of each as it is done.

    Raises:
        SddError: workers cannot begin, or results cannot be written.
    """
    return _threads(order, tasks, crew) if len(crew.devices) == 1 else _processes(order, tasks, crew)


def _threads(order: Order, tasks: Iterator[Task], crew: Crew) -> Iterator[Report]:
    worker = Worker(order, crew.devices[0])
    pool = ThreadPoolExecutor(crew.threads)
    waiting: set[Future[Report]] = set()
    try:
        for task in tasks:
            waiting.add(pool.submit(worker, task))
            if len(waiting) >= AHEAD * crew.threads:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        for future in waiting:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class _Hand:
    """A process, and what it was given and has not answered."""

    process: BaseProcess
    pipe: Connection
    device: str | None
    at: dict[int, Task] = field(default_factory=dict)


class _Processes:
    """The processes of a run."""

    def __init__(self, order: Order, crew: Crew) -> None:
        self.order, self.crew = order, crew
        self.context: Any = multiprocessing.get_context(START)
        self.hands = [self._hire(device) for device in crew.devices]
        self.unanswered = 0  # deaths since the last answer
        self.given = count()

    def _hire(self, device: str | None) -> _Hand:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_serve, args=(theirs, self.order, device, self.crew), daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends where the process does
        return _Hand(process, ours, device)

    def give(self, hand: _Hand, task: Task) -> None:
        """Hand out a task; where the process is dead, that shows when it is asked for an answer."""
        hand.at[number := next(self.given)] = task
        with suppress(OSError):
            hand.pipe.send((number, task))

    def answers(self) -> Iterator[Report | list[Task]]:
        """Waits for some: reports; and where a process died, what it was at.

        Raises:
            SddError: a worker cannot begin, or results cannot be written.
        """
        for pipe in ready([hand.pipe for hand in self.hands]):
            at = next(i for i, hand in enumerate(self.hands) if hand.pipe is pipe)
            hand = self.hands[at]
            try:
                number, answer = hand.pipe.recv()
            except (EOFError, OSError):
                hand.process.join()
                self.unanswered += 1
                if self.unanswered > HOPELESS * len(self.hands):
                    raise SddError("workers die as soon as they begin; is there memory for so many? give --workers 1"
                                   ) from None  # fmt: skip
                self.hands[at] = self._hire(hand.device)
                yield list(hand.at.values())
                continue
            if isinstance(answer, SddError):
                raise answer
            self.unanswered = 0
            del hand.at[number]
            yield answer

    def close(self) -> None:
        """Let them go; what is not committed is left to the next run."""
        for hand in self.hands:
            hand.process.kill()  # at any moment is as good as at any other
        for hand in self.hands:
            hand.process.join()
            hand.pipe.close()


def _processes(order: Order, tasks: Iterator[Task], crew: Crew) -> Iterator[Report]:
    processes = _Processes(order, crew)
    again: list[Task] = []
    suspects: list[Task] = []
    deaths: Counter[int] = Counter()
    try:
        while True:
            for hand in processes.hands:
                while len(hand.at) < AHEAD * crew.threads:
                    task = again.pop() if again else next(tasks, None)
                    if task is None:
                        break
                    processes.give(hand, task)
            if not any(hand.at for hand in processes.hands):
                break
            for answer in processes.answers():
                if isinstance(answer, Report):
                    yield answer
                    continue
                for task in answer:
                    deaths[task.number] += 1
                    (suspects if deaths[task.number] >= DEATHS else again).append(task)
        for task in suspects:
            for place in task.places:
                yield _alone(processes, replace(task, places=(place,)))
    finally:
        processes.close()


def _alone(processes: _Processes, task: Task) -> Report:
    """Try one picture that may be what processes die of, while nothing else is at stake."""
    for last in (False,) * DEATHS + (True,):
        if last:
            task = replace(task, places=(replace(task.places[0], error=f"{task.places[0].source}: {DIED}"),))
        processes.give(processes.hands[0], task)
        while processes.hands[0].at:
            for answer in processes.answers():
                if isinstance(answer, Report):
                    return answer
    raise SddError(f"{task.places[0].source}: {DIED}")


def _serve(pipe: Connection, order: Order, device: str | None, crew: Crew) -> None:
    """What a worker's process does, until its driver is no more."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to answer
    warnings.simplefilter("ignore")
    keep_memory()
    if crew.cores is not None:
        torch.set_num_threads(crew.cores)
    speaking = Lock()

    def answer(number: int, work: Callable[[], Report | Worker]) -> Any:
        found: Any
        try:
            found = work()
        except SddError as error:
            found = error
        except Exception as error:
            found = SddError(f"a worker failed ({type(error).__name__}: {one_line(str(error), 200)})")
        if not isinstance(found, Worker):
            with speaking, suppress(OSError):
                pipe.send((number, found))
        return found

    worker = answer(-1, lambda: Worker(order, device))
    if not isinstance(worker, Worker):
        return
    with ThreadPoolExecutor(crew.threads) as pool:
        while True:
            try:
                number, task = pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # what is not committed is the next run's
            pool.submit(answer, number, partial(worker, task))
