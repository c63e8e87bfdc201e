"""The papers' tables and figures where the right answer is known: one file each has measure, figure and section.

`sdd.evaluate.tables` measures this package for docs/avatars.md; here the papers' claims are put to the test. `names`
says which there are, `experiment` what each is made of and how it is written, `cells` what is measured once and kept,
`points` what a method does at one value of its knob, `trainings` and `single_steps` what editors are worth that were
trained at chosen timesteps, `at_best` what methods are at their best knob, and `index` what all say of the claims.
"""
