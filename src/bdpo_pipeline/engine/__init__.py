"""The training engine: batches, log-probs, loop, checkpoint, worker, launcher. Knows nothing of Kedro or MLflow."""
