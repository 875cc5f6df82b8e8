"""Many clips: manifests, jobs that are done once, workers that keep models loaded, a report."""
