"""From a reference image and control features to the latents of a clip; plain tensors throughout.

Read `denoise.py` first: the loop is the whole algorithm. `network.py` is what it calls,
`conditioning.py` what that is conditioned on, `schedules.py` the noise levels it runs over.
"""
