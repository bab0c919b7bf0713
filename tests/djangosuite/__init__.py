"""Django's own test suite on our backend, held against Django's native pool. `scripts/django-suite --help`."""
