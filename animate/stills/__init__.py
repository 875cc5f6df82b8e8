"""Still pictures: stock Stable Diffusion pipelines with ControlNeXt hooked onto their UNets."""
