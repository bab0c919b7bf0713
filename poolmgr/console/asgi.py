"""For ASGI servers: uvicorn poolmgr.console.asgi:application"""

from django.core.handlers.asgi import ASGIHandler

from poolmgr.console.apart import stand_apart

stand_apart()
application = ASGIHandler()
