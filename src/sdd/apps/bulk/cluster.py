"""The scaling engine: Ray Data, on this machine or on a cluster; a block is one task, a few kilobytes of paths.

All machines see the pictures and the output folder under the same paths, or the pictures by an address. Blocks hold no
pictures, so that the object store never spills.
"""

from __future__ import annotations

import logging
import os
import pickle
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sdd.apps.bulk.task import Report, Task
from sdd.apps.bulk.work import Order, Worker
from sdd.errors import SddError, one_line
from sdd.memory import keep_memory

THREADS, THREADS_GPU = 2, 8  # of a worker: one computes, the others read and write
RETRIES = 3  # of a task whose worker died


def run(
    order: Order, tasks: Iterator[Task], address: str | None = None, workers: int | None = None,
    device: str | None = None,
) -> Iterator[Report]:  # fmt: skip
    """Edit tasks on a Ray cluster; a report of each as it is done.

    Args:
        address: of the cluster, or `auto`; None for one of this machine alone, unless Ray has begun already.
        workers: how many; None for one on each GPU, or on each core where there is none.
        device: cpu or cuda; None for what the cluster has.

    Raises:
        SddError: Ray is not installed, or there is no such cluster; workers cannot begin; results cannot be written.
    """
    given = list(tasks)
    if not given:
        return
    with _cluster(address) as ray:
        data = ray.data.from_items([{"task": pickle.dumps(task)} for task in given], override_num_blocks=len(given))
        data = data.map_batches(_hand(order), **_resources(ray, device, workers, len(given)))
        waiting = {task.number: len(task.places) for task in given}
        for row in data.iter_rows():
            answer = pickle.loads(row["answer"])
            if isinstance(answer, SddError):
                raise answer
            del waiting[answer.task.number]
            yield answer
    if waiting:
        raise SddError(
            f"{sum(waiting.values())} pictures were not edited, because workers died of them {RETRIES + 1} times; the "
            f"same command tries them again, and with --engine local one by one"
        )


def _hand(order: Order) -> type:
    """The class of Ray's actors, which carries the order with it."""

    class Hand:
        def __init__(self) -> None:
            import torch

            warnings.simplefilter("ignore")
            keep_memory()
            cuda = torch.cuda.is_available()  # as Ray lets this actor see it
            if not cuda:
                torch.set_num_threads(1)
            self.worker: Worker | SddError
            try:
                self.worker = Worker(order, "cuda" if cuda else "cpu")
            except SddError as error:
                self.worker = error

        def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
            answers: list[Report | SddError] = []
            for task in batch["task"]:
                try:
                    if isinstance(self.worker, SddError):
                        raise self.worker
                    answers.append(self.worker(pickle.loads(task)))
                except SddError as error:
                    answers.append(error)
            return {"answer": [pickle.dumps(answer) for answer in answers]}

    return Hand


def _resources(ray: Any, device: str | None, workers: int | None, tasks: int) -> dict[str, Any]:
    """How many actors there are, and what each has."""
    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    if device is not None and device.startswith("cuda") and not gpus:
        raise SddError("the Ray cluster has no GPU; leave --device out, or give --device cpu")
    on_gpu = gpus > 0 and device != "cpu"
    count = max(1, min(workers or (gpus if on_gpu else int(there.get("CPU", 1))), tasks))
    compute = ray.data.ActorPoolStrategy(
        size=count,
        max_concurrent_calls_per_actor=THREADS_GPU if on_gpu else THREADS,
        enable_true_multi_threading=True,
    )
    return {
        "compute": compute, "batch_size": 1, "num_cpus": 1, "num_gpus": 1 if on_gpu else None,
        "ray_remote_args_fn": lambda: {"max_task_retries": RETRIES},
    }  # fmt: skip


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected; and let go of again, if it was not connected before."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise SddError("--engine ray needs Ray; install it with: pip install 'sdd[ray]'") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    before = ray.is_initialized()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not before:
            try:
                ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise SddError(f"there is no Ray cluster at {address} ({one_line(str(error), 120)}); start one with "
                               f"`ray start --head`") from error  # fmt: skip
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # what is lost with a worker is said at the end; the rest goes on
        try:
            yield ray
        finally:
            if not before:
                ray.shutdown()
