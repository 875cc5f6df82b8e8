"""Making of the bundled model: characters, autoencoder, networks from nothing, evaluation."""
