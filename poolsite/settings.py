"""Django's settings for the site, all of them from the environment: secure unless a variable says otherwise."""

from pathlib import Path

from poolmgr.backends.async_postgresql import requirement as tasks

from . import environment as env

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = env.secret_key()
DEBUG = env.flag("DEBUG", False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]" if DEBUG else "")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    # Its checks ask for it wherever an index of PostgreSQL's own kind is used.
    "django.contrib.postgres",
    "poolmgr",
    "poolsite.docsearch",
    "poolsite.reports",
]

# Of a process that an ASGI server runs: it streams answers, and its views that await query without threads, where the package
# for that can be installed.
ASYNC_VIEWS = env.flag("ASYNC_VIEWS", False)
BY_TASKS = ASYNC_VIEWS and not tasks.what_is_missing()
if BY_TASKS:
    INSTALLED_APPS += [tasks.APP]
# Where such a process is, for the links of the others'.
ANSWERS_URL = env.text("ANSWERS_URL", "")

MIDDLEWARE = [
    # First, so that everything the console does, sessions included, keeps out of the pool.
    "poolmgr.middleware.ConsoleLaneMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "poolsite.csp.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "poolsite.urls"
WSGI_APPLICATION = "poolsite.wsgi.application"
ASGI_APPLICATION = "poolsite.asgi.application"
LOGIN_URL = "admin:login"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "poolsite.docsearch.answers.link",
            ],
        },
    },
]

# -- Servers -----------------------------------------------------------------------------------------------------------

REDIS_URL = env.redis_url()

# Where the operator begins; a profile saved in the admin takes over.
DATABASES = {
    "default": env.database(
        "DATABASE_URL",
        engine=tasks.ENGINE if BY_TASKS else "poolmgr.backends.postgresql",
        pool={
            "pool_mode": env.choice("POOL_MODE", "session", ("session", "transaction")),
            "min_size": env.number("POOL_MIN_SIZE", 1),
            "max_size": env.number("POOL_MAX_SIZE", 8, minimum=1),
            "timeout": env.number("POOL_TIMEOUT", 10, minimum=1),
        },
    ),
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Celery's, where there is Redis: connections to send tasks over, and to the results of the few that have one.
CELERY_TARGETS = {
    "broker": {"KIND": "kombu", "APP": "poolsite.celery.app", "POOL": {"max_size": 4, "connection_timeout": 5}},
    "results": {
        "KIND": "redis",
        # A visitor who looks for a result must not hang on a server that does.
        "URL": env.redis_url(socket_connect_timeout=2, socket_timeout=2),
        "POOL": {"max_size": 4, "connection_timeout": 2},
    },
}

# Where it is before a database of the site; its databases have the names that the site gives them.
PGBOUNCER = {
    "bouncer": {
        "KIND": "pgbouncer",
        "URL": env.pgbouncer_url(),
        "DATABASES": [DATABASES["default"]["NAME"]],
    },
}

POOLMGR = {
    # Where push and heartbeats go; without it they are rows of the database.
    "REDIS_URL": REDIS_URL or None,
    # Pools beside those of DATABASES and CACHES, which poolmgr.pool() hands out by their names.
    "TARGETS": {
        # SQLAlchemy's engine for what reads all documents at once: few connections, so that the search has its own.
        "reports": {
            "KIND": "sqlalchemy",
            "URL": env.sqlalchemy_url("REPORTS_DATABASE_URL", otherwise="DATABASE_URL"),
            "POOL": {"max_size": 2, "connection_timeout": 5},
        },
        # The same documents by asyncpg, for what awaits.
        "vectors": {
            "KIND": "asyncpg",
            "DATABASE": "default",
            "VECTOR": True,
            "POOL": {"max_size": 4, "connection_timeout": 5},
        },
        **(CELERY_TARGETS if REDIS_URL else {}),
        **(PGBOUNCER if env.pgbouncer_url() else {}),
    },
}

if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "site",
            "OPTIONS": {
                "CONNECTION_FACTORY": "poolmgr.targets.redis.django_redis.ConnectionFactory",
                "POOL": {"min_size": 0, "max_size": 8, "connection_timeout": 2},
                # A cache that is down costs speed, never an answer.
                "IGNORE_EXCEPTIONS": True,
                "SOCKET_CONNECT_TIMEOUT": 2,
                "SOCKET_TIMEOUT": 2,
            },
        },
    }
    DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True
    # Read from the cache; the database has them when Redis forgets.
    SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

CELERY_BROKER_URL = REDIS_URL or "memory://"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A request that sends a task must not hang on a broker that is down.
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "socket_timeout": 10} if REDIS_URL else {}
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_BACKEND = "poolmgr.targets.redis.celery.ResultBackend+target://results" if REDIS_URL else None
CELERY_RESULT_EXPIRES = 600
# Nor on results that can't be reached: Celery would try to subscribe to them for 20 seconds.
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"retry_policy": {"max_retries": 1, "interval_start": 0, "interval_max": 0.1}}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TIMEZONE = "UTC"

# -- The documents -----------------------------------------------------------------------------------------------------

# Dotted path of a callable: list of texts -> list of vectors of docsearch.models.DIMENSIONS floats.
DOCSEARCH_EMBEDDER = env.text("DOCSEARCH_EMBEDDER", "poolsite.docsearch.embedding.embed")

# -- Security ----------------------------------------------------------------------------------------------------------

# One switch for everything that only works over TLS; off for the demo on the loopback interface.
HTTPS = env.flag("HTTPS", True)
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = env.number("HSTS_SECONDS", 31_536_000) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS and env.flag("HSTS_INCLUDE_SUBDOMAINS", True)
SECURE_HSTS_PRELOAD = HTTPS and env.flag("HSTS_PRELOAD", True)
# Only behind a proxy that sets the header itself: otherwise a client could claim to be on TLS.
if env.flag("TRUST_X_FORWARDED_PROTO", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
# Sites on other ports of one host share cookies; own names keep two demos apart.
SESSION_COOKIE_NAME = env.text("SESSION_COOKIE_NAME", "poolsite_session")
CSRF_COOKIE_NAME = env.text("CSRF_COOKIE_NAME", "poolsite_csrf")
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Names like REDIS_URL don't say that they hold a password, and runserver's requests carry the whole environment.
DEFAULT_EXCEPTION_REPORTER_FILTER = "poolmgr.reporting.PasswordFilter"

# -- Files, language, logs ---------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
# Only for `collectstatic`; none is needed to serve.
STATIC_ROOT = env.text("STATIC_ROOT", "") or None
# Static files straight from the packages: nothing to collect before a start.
WHITENOISE_USE_FINDERS = True

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        # Django's own handlers are for DEBUG and mail; with these its records go where all others go.
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.server": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "celery": {"level": LOG_LEVEL},
        "poolmgr": {"level": LOG_LEVEL},
        "poolsite": {"level": LOG_LEVEL},
    },
}
