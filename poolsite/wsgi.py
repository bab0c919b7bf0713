"""For WSGI servers: gunicorn poolsite.wsgi"""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolsite.settings")
application = get_wsgi_application()
