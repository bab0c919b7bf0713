"""For WSGI servers: gunicorn poolmgr.console:application"""

from django.core.handlers.wsgi import WSGIHandler

from poolmgr.console.apart import stand_apart

stand_apart()
application = WSGIHandler()
