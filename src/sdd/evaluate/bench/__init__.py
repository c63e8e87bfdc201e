"""The papers' tables and figures where the right answer is known: one file each has measure, figure and section.

names      which there are                          experiment   what each is made of, and how it is written
cells      what is measured once and kept           points       a method at one value of its knob
trainings  editors trained at chosen timesteps      index        what all of them say of the papers' claims
"""
