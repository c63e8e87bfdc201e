"""Which experiments there are; nothing heavy is imported to say so."""

from __future__ import annotations

NAMES = {
    "fig1": "Editability against fidelity: every method over its own knob, with the Pareto front (Figures 1 and 6).",
    "table1": "SDD and the diffusion methods, each at its best knob; total time and break-even (Table 1, Eq. 13-15).",
    "table2": "SDD, StyleCLIP and StyleGAN-NADA with one generator (Table 2).",
    "table3": "Random, small, large and largest thresholds of the score at equal steps (Table 3).",
    "fig4": "The hybrid quality score beside the gain of training at each single timestep (Figure 4).",
    "fig5": "A grid of prompts: source, edit, right answer (Figure 5).",
    "fig7": "A change of pose, by CLIP's guidance and by diffusion's (Figure 7).",
    "second": "effdiff against DiffusionCLIP: time, memory and one-step estimates (arXiv 2304.04344).",
    "timesteps": "Which timesteps teach: indicators against the gain of training at each.",
    "proxies": "Which of the field's numbers agree with the truth, over all methods and knobs.",
}
