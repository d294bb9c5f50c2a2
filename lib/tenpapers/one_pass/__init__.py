"""One pass of SGD with the geometrically decaying stepsize: what several chapters share.

`schedule` holds the stepsizes and the effective dimension, `phases` the exact evaluation of second moments, a whole
phase of constant stepsize at a time.
"""
