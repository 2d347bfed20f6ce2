"""Rules about batching, queues and the response cache."""
