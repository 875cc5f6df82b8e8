"""Training: procedural characters, data, objective, autoencoder, trainer, export."""
