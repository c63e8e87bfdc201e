"""A training as a generator of states: search, S, then Algorithm 1 with whatever the configuration adds to it.

Progress, logs, checkpoints and windows are the driver's (`sdd.training.distil`), who may stop between any two states.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from sdd.beyond.descent import descended
from sdd.beyond.draws import Draws
from sdd.beyond.information import STRATEGY, information
from sdd.beyond.offline import regress
from sdd.beyond.scale import Scaled, signal
from sdd.beyond.sooner import decided
from sdd.beyond.steady import rate
from sdd.beyond.strength import satisfied
from sdd.device import precision
from sdd.domains.domain import Domain
from sdd.io.progress import Report, counting
from sdd.manipulators.protocol import Change, Manipulator, Prepared
from sdd.paper.algorithm import distil
from sdd.paper.hqs import HQS
from sdd.paper.search import default_timesteps, search
from sdd.paper.step import Guidance, Step
from sdd.paper.timesteps import searches, timestep_set
from sdd.teachers.protocol import Teacher
from sdd.training.config import DistillConfig
from sdd.training.learner import Learner, begun, resumed
from sdd.training.making import again, first, probe_of, with_units
from sdd.training.source import Source, source_of
from sdd.training.teaching import distance_of, guidance_of, masks_of, terms_of
from sdd.training.world import ALONE, World


@dataclass
class State:
    """Where a training stands after a step.

    Attributes:
        learner: everything that a checkpoint holds.
        figures: numbers of the step, by name: loss, its parts, gradient, slope, change.
        done: whether this was the last step.
    """

    learner: Learner
    figures: dict[str, float]
    done: bool


class Watch(Protocol):
    """Somebody who looks on at a training, and may end it."""

    def searched(self, scores: HQS) -> object:
        """The scores so far; told after each timestep of the search."""

    def stepped(self, training: Training) -> bool:
        """Told after each step; true where what is learned so far is enough."""
        ...


class Training:
    """A training that can be iterated: once for each step, until it has settled or reached its limit.

    Args:
        saved: a checkpoint (`Learner.dump`) to go on from.
        report: told what is being prepared.
        watch: told of the search as it goes on.
        world: the processes that share it.

    Attributes:
        learner: what is learned so far.
        source: the prepared source pictures.
        limit: steps after which it ends at the latest.
    """

    def __init__(
        self,
        prompt: str,
        domain: Domain,
        teacher: Teacher,
        settings: DistillConfig,
        seed: int,
        saved: dict[str, Any] | None,
        device: torch.device,
        report: Report,
        watch: Watch | None = None,
        world: World = ALONE,
    ) -> None:
        self.prompt, self.teacher, self.settings, self.seed = prompt, teacher, settings, seed
        self.device, self.world = device, world
        self.limit = settings.max_steps if settings.steps == "auto" else settings.steps
        probe = probe_of(domain, teacher, settings)
        self.source = source_of(domain, probe, teacher, settings, seed, report)
        if saved is None:
            hqs, timesteps = _searched(prompt, teacher, self.source, settings, seed, report, watch)
        else:
            hqs, timesteps = saved["hqs"], saved["timesteps"]
        masks = masks_of(prompt, teacher, self.source, settings, timesteps, seed, report)
        guidance = guidance_of(prompt, teacher, self.source, settings, masks)
        if saved is None:
            random = torch.Generator().manual_seed(seed)
            power = self._power(with_units(probe, self.source), guidance, timesteps, random)
            made, answered = first(domain, teacher, settings, self.source, power, random)
            self.learner = begun(made, answered, settings, random, timesteps, hqs, world)
        else:
            self.learner = resumed(again(domain, teacher, settings, self.source, saved), settings, saved, world)
        self.manipulator = self.learner.manipulator
        factor = 1 / self.learner.unit if settings.normalise else 1.0
        self.draws = Draws(guidance, settings.draws, self.learner.random)
        self.guidance: Guidance = Scaled(self.draws, factor * (settings.batch if settings.reduction == "sum" else 1))
        self.terms = terms_of(domain, self.manipulator, self.source, settings, masks)
        if settings.offline:
            self.terms["distance"] = distance_of(
                self.manipulator, teacher, guidance, self.source, settings, self._at, seed, report
            )

    def _power(
        self, probe: Manipulator, guidance: Guidance, timesteps: list[int], random: torch.Generator
    ) -> list[Tensor] | None:
        """The power of the guidance's signal, where something asks for it."""
        settings = self.settings
        if settings.offline or (settings.levels != "auto" and not settings.normalise):
            return None
        return signal(
            probe, self.source.prepared, self.teacher, guidance, timesteps, random, settings.batch,
            encode=self._encoder(probe, random),
        )  # fmt: skip

    def _encoder(
        self, manipulator: Manipulator, random: torch.Generator, world: World = ALONE
    ) -> Callable[..., Tensor]:
        """From a change and its pictures to the latents that the guidance is on; a world draws as one process does."""

        def encode(y: Prepared, change: Change, images: Tensor) -> Tensor:
            known = manipulator.latents(y, change)
            if known is not None:
                return known
            sample = self.settings.sample_posterior
            if world.size == 1 or not sample:
                return self.teacher.encode_image(images, sample, random)
            whole = world.size * len(images)
            noise = torch.randn(whole, *self.teacher.latent_shape, generator=random)
            return self.teacher.encode_image(images, noise[world.share(whole)])

        return encode

    def timesteps(self, step: int) -> list[int]:
        """The timesteps to train at, at a step."""
        return self._at(step / self.limit)

    def _at(self, done: float) -> list[int]:
        """The timesteps to train at when a share of the training is done."""
        settings, chosen = self.settings, self.learner.timesteps
        if settings.timesteps.startswith("list"):  # what the user listed is taken as it is
            return chosen
        return descended(chosen, settings.descend, self.teacher.num_timesteps, done)

    def _steps(self, strength: Tensor) -> Iterator[Step]:
        """Algorithm 1, or the regression that stands for it."""
        settings, learner, n = self.settings, self.learner, len(self.source)
        size = min(settings.batch, n)
        if settings.offline:
            return regress(
                self.manipulator, self.source.prepared, self.terms, learner.optimizer, learner.random,
                batch=size, strength=strength, start=learner.step,
            )  # fmt: skip
        ordered = None if settings.shuffle else lambda step: (torch.arange(size) + step * size) % n
        return distil(
            self.manipulator, self.source.prepared, self.teacher, self.guidance, self.timesteps, learner.optimizer,
            learner.random, terms=self.terms, batch=size, choose=ordered, strength=strength,
            encode=self._encoder(self.manipulator, learner.random, self.world), start=learner.step,
            precision=partial(precision, self.device, settings.precision), share=self.world.share(size),
        )  # fmt: skip

    def __iter__(self) -> Iterator[State]:
        settings, learner = self.settings, self.learner
        slope, outliers = learner.slope, learner.outliers
        strength = torch.ones((), device=self.device, requires_grad=True)
        steps = self._steps(strength)
        while not learner.done:
            strength.grad = None
            for group in learner.optimizer.param_groups:
                group["lr"] = settings.lr * rate(learner.step, self.limit, settings.lr_warmup, settings.schedule)
            self.draws.timesteps = self.timesteps(learner.step)
            step = next(steps)
            learner.step = step.number
            if learner.average is not None:
                learner.average.update_parameters(self.manipulator.learned)
            with torch.no_grad():
                change = math.sqrt(float(self.world.mean(self.manipulator.size(step.change))))
            assert strength.grad is not None, "the loss depends on the change"
            slope.see(-float(self.world.mean(strength.grad)) / change if change > 0 else 0.0)
            settled = settings.normalise and slope.settled(step.number)
            learner.done = step.number >= self.limit or (settings.steps == "auto" and settled)
            parts = {"loss": step.loss, **step.terms}
            means = self.world.mean(torch.stack([part.detach() for part in parts.values()]))
            figures = dict(zip(parts, means.tolist(), strict=True))
            figures |= {"gradient": outliers.last, "slope": slope.now, "change": change}
            yield State(learner, figures, learner.done)

    @property
    def result(self) -> Manipulator:
        """The manipulator as an editor has it: with averaged weights, where weights are averaged."""
        average: AveragedModel | None = self.learner.average
        return self.manipulator if average is None else self.manipulator.with_learned(average.module)

    def strength(self) -> float:
        """What strength 1 multiplies."""
        if self.settings.strength != "auto":
            return self.settings.strength
        random = torch.Generator().manual_seed(self.seed + 2)
        size = min(2 * self.settings.batch, len(self.source))
        index = torch.randperm(len(self.source), generator=random)[:size].to(self.device)
        last = self.timesteps(self.learner.step)
        t = torch.tensor(last)[torch.arange(size) % len(last)].to(self.device)
        noise = torch.randn(size, *self.teacher.latent_shape, generator=random).to(self.device)
        manipulator, y = self.result, self.source.prepared[index]
        with torch.no_grad():
            change = manipulator.change(y)

        encode = self._encoder(manipulator, random)

        def slope(s: float) -> float:
            factor = torch.tensor(s, device=self.device, requires_grad=True)
            with precision(self.device, self.settings.precision):
                moved = change.scaled(factor)
                latents = encode(y, moved, manipulator.draw(y, moved))
                g = self.guidance(latents.detach(), t, noise, index)
            (found,) = torch.autograd.grad((latents * g).sum(), factor)
            return float(found)

        return self.settings.overshoot * satisfied(slope)

    @torch.no_grad()
    def pictures(self, count: int = 8) -> list[Tensor]:
        """Two rows: some sources, unedited, and their edits."""
        y = self.source.prepared[:count]
        return [self.result.draw(y), self.result(y)]

    @torch.no_grad()
    def change(self, count: int = 64) -> float:
        """Root mean squared change over some sources, in the manipulator's units."""
        manipulator = self.result
        return math.sqrt(float(manipulator.size(manipulator.change(self.source.prepared[:count]))))


def _searched(
    prompt: str, teacher: Teacher, source: Source, settings: DistillConfig, seed: int, report: Report,
    watch: Watch | None,
) -> tuple[dict[str, Any] | None, list[int]]:  # fmt: skip
    """The hybrid quality score as a record, where the strategy looks at it, and S."""
    if settings.timesteps == STRATEGY:
        return None, _telling(prompt, teacher, source, seed, report)
    if not searches(settings.timesteps):
        return None, timestep_set(None, settings.timesteps, teacher.num_timesteps)
    total = len(source.pictures) * len(default_timesteps(teacher.num_timesteps))
    advance = counting(report, f"hybrid quality score of {prompt!r}", total)
    hqs = search(
        teacher,
        source.pictures,
        prompt,
        gradient=settings.search_gradient,
        scale=settings.search_scale,
        weighted=settings.search_weighted,
        seed=seed,
        advance=advance,
        found=(lambda scores: None) if watch is None else watch.searched,
        enough=decided(settings.timesteps, settings.search_sure),
    )
    return json.loads(hqs.to_json()), timestep_set(hqs, settings.timesteps, teacher.num_timesteps)


def _telling(prompt: str, teacher: Teacher, source: Source, seed: int, report: Report) -> list[int]:
    """S of the one timestep at which the prompt tells most."""
    steps = default_timesteps(teacher.num_timesteps)
    advance = counting(report, f"what {prompt!r} tells at each timestep", len(source.pictures) * len(steps))
    with torch.no_grad():
        latents = teacher.encode_image(source.pictures, sample=False)
    random = torch.Generator().manual_seed(seed + 5)
    found = information(teacher, latents, prompt, steps, random, advance=advance)
    return [steps[found.index(max(found))]]
