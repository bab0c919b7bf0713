"""Django's backend with a half for tasks, of the package django-async-backend, on the same managed pool."""
