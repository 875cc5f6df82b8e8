"""How the bundled model is made: characters, autoencoder, networks from nothing, evaluation."""
