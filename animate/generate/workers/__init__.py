"""Workers that share the windows of one clip: in this process, on Ray, under torchrun.

One protocol (`animate.generate.workers.protocol.WindowExecutor`), one contract suite
(`tests/generate/workers/contract.py`), the same latents to the bit from all of them, for any number
of workers of the same kind of machine that compute with the same number of threads. Ray also runs
whole jobs of a batch (`ray_jobs`).
"""
