"""Parts that the trainings of the bundled models share: recipes, shards, loop, command."""
