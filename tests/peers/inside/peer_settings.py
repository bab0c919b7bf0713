"""What our package asks of Django's settings, for suites that know no Django."""

from django.conf import settings

if not settings.configured:
    settings.configure(DATABASES={}, CACHES={}, INSTALLED_APPS=[])
