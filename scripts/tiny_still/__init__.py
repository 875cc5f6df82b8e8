"""A text-to-image model of the Stable Diffusion 1.5 architecture at toy size, from nothing."""
