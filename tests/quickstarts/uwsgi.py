"""uWSGI as its wheel has it: python -m tests.quickstarts.uwsgi OPTIONS"""

import sys

import pyuwsgi

pyuwsgi.run(sys.argv[1:])
