"""What is ours beside the paper, one departure a file, each handed to `sdd.paper` as a guidance, a term or a schedule.

    guidances   csd, dds, pds, asd instead of the paper's sds
    mask        where the prompt means something (DiffEdit): the rest is held, or not taught
    held        hold a change of latents or pixels, where no generator keeps it small
    descent     timesteps sink while training
    offline     latents descend first, and a network is regressed on what they become
    draws       several draws of timestep and noise for one rendering
    scale       the guidance in units of its own signal; levels that carry none stay off
    steady      rates, averages and outliers
    information where the prompt tells most: another score of timesteps than the paper's
    settle      stop when guidance and what holds the edit balance
    strength    how far strength 1 goes
    blend       the edit laid into the source, whose own pixels stay
    pose        where in a picture a drawing lies, and the ways there and back
    register    a picture turned and moved to where it inverts best, before it is encoded
    published   what the released code does and the paper does not say

`sdd.training.config.DEPARTURES` names the options of each; `python -m sdd.evaluate.benchmark ablation` measures what
each buys.
"""
