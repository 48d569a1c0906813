"""The bench: speed as ratios to references that are measured in the same run, in alternating rounds.

Promise: what counts is read back from the database after it was committed. A slow figure is a figure; a wrong answer fails.
"""
