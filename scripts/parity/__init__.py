"""Hold this project's numbers against vectors that the published code produced.

A vectors file is a safetensors file with inputs and outputs, and a JSON string `settings` in its
metadata. `scripts/check_parity.py` is the command; `report` finds the kind of file and checks it.
"""
