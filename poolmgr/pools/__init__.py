"""The engine: pools of this process. Knows nothing of models, Redis or Celery."""
