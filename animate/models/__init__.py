"""Model variants, the control network, its injection into the UNet, and weight files.

Nothing is imported here: `variants` needs neither torch nor diffusers, the other modules do.
"""
