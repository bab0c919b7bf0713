"""For ASGI servers: uvicorn poolsite.asgi:application"""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolsite.settings")
application = get_asgi_application()
