"""All settings of OVMST, from OVMST_* variables. An unknown one stops the start.

Without any variable this is the embedded way: SQLite and an in-memory broker, all in OVMST_DATA.
"""

import os
from pathlib import Path

from celery.schedules import schedule as every

from ovmst_site.environment import Environment, database
from ovmst_site.keys import secret_key

env = Environment(os.environ)
BASE_DIR = Path(__file__).resolve().parent.parent

# --- Where things are kept -------------------------------------------------------------------------------
# Database, keys and logs of the embedded way. Nobody but its owner may read it.
DATA = Path(env.text("DATA", str(BASE_DIR / ".data"))).absolute()
DATA.mkdir(mode=0o700, parents=True, exist_ok=True)

DATABASES = {"default": database(env.text("DATABASE_URL"), DATA, int(env.number("DATABASE_POOL", 20)))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Keys -----------------------------------------------------------------------------------------------
SECRET_KEY = env.text("SECRET_KEY") or secret_key(DATA / "secret-key")
# One Fernet key a line; the first encrypts, all decrypt. Made at the first start.
CREDENTIAL_KEY_FILE = Path(env.text("CREDENTIAL_KEY_FILE", str(DATA / "credential-keys")))

# --- Web ------------------------------------------------------------------------------------------------
DEBUG = env.flag("DEBUG", default=False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost 127.0.0.1 [::1]")
ROOT_URLCONF = "ovmst_site.urls"
ASGI_APPLICATION = "ovmst_site.asgi.application"
AUTH_USER_MODEL = "access.Person"
LOGIN_URL = "access:sign-in"
LOGIN_REDIRECT_URL = "servicing:home"
LOGOUT_REDIRECT_URL = LOGIN_URL
STATIC_URL = "static/"
# Served by the application itself, straight from the apps' folders: nothing to collect, no server in front.
WHITENOISE_USE_FINDERS = True
WHITENOISE_MAX_AGE = 300
FORM_RENDERER = "ovmst_site.web.forms.Renderer"
FILTERS_EMPTY_CHOICE_LABEL = "any"
# Everything comes from here, nothing is inline, nothing is evaluated; also for the admin.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
# Behind HTTPS: cookies never travel in the clear.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.flag("HTTPS", default=False)
SESSION_COOKIE_AGE = 12 * 3600
CSRF_TRUSTED_ORIGINS = env.words("TRUSTED_ORIGINS")

INSTALLED_APPS = [
    "servicing",
    "inventory",
    "inventory.lab",
    "ovmst_site.access",
    "ovmst_site.web",
    "django_htmx",
    "django_filters",
    "csp",
    "django_celery_beat",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.forms",  # its templates, below our own
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "ovmst_site.web.middleware.StaticFiles",
    "ovmst_site.web.middleware.NothingKept",
    "ovmst_site.web.middleware.WholePageSignIn",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "ovmst_site.access.middleware.OwnPasswordFirst",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

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
                "servicing.views.header.header",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]

USE_TZ = True
TIME_ZONE = env.text("TIME_ZONE", "UTC")
LANGUAGE_CODE = "en"

# --- Mail: alarms for machines that need attention ---------------------------------------------------------
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_PORT = int(env.number("EMAIL_PORT", 25))
EMAIL_HOST_USER = env.text("EMAIL_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_PASSWORD")
EMAIL_USE_TLS = env.flag("EMAIL_TLS", default=False)
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env.text("EMAIL_FROM", "ovmst@localhost")
ALARM_RECIPIENTS = env.words("ALARM_RECIPIENTS")
# Without a mail server alarms are files in the data folder, so that none is lost while nobody set one up.
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'filebased'}.EmailBackend"
EMAIL_FILE_PATH = str(DATA / "mail")

# --- Celery: a message is a hint, the rows are the truth -----------------------------------------------------
CELERY_BROKER_URL = env.text("BROKER_URL", "memory://localhost/")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "servicing"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {
    # The safety net below the workers' own timers.
    "look-for-due-work": {"task": "servicing.advance_due", "schedule": every(30), "args": ["servicing"]},
    "repeat-alarms": {"task": "servicing.repeat_alarms", "schedule": every(300)},
    "start-due-occurrences": {"task": "servicing.start_due_occurrences", "schedule": every(60)},
    "sync-due": {"task": "inventory.sync_due", "schedule": every(60)},
}
CELERY_TIMEZONE = TIME_ZONE
# Polling once a second would cap the in-memory broker at prefetch messages a second.
CELERY_BROKER_TRANSPORT_OPTIONS = {"polling_interval": 0.005} if CELERY_BROKER_URL.startswith("memory") else {}

# --- Engine -------------------------------------------------------------------------------------------------
# How long a worker may hold a target without renewing; a dead worker's targets wait this long.
LEASE_SECONDS = env.number("LEASE_SECONDS", 90)
# How often a step looks again at work that goes on over there.
POLL_SECONDS = env.number("POLL_SECONDS", 2)
# A planned start that is found later than this was missed (OVMST was down, say), and isn't made up for.
START_LATE_HOURS = env.number("START_LATE_HOURS", 1)
# Calls to one management server at a time, in one worker process.
CALLS_PER_SERVER = int(env.number("CALLS_PER_SERVER", 8))

# --- Built-in lab ------------------------------------------------------------------------------------------
# So many times faster than the wall clock runs a new lab's: at 60, a minute passes in a second.
LAB_TIME_SCALE = env.number("LAB_TIME_SCALE", 1)

# --- libvirt -----------------------------------------------------------------------------------------------
# auto: try a real start once; kvm, qemu: believe the administrator.
LIBVIRT_ACCELERATOR = env.text("LIBVIRT_ACCELERATOR", "auto")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": env.text("LOG_LEVEL", "WARNING")},
}

# Read by the tests only; declared here so that they don't stop the start.
env.text("PWSH")
env.text("TEST_BROKER_URL")
env.text("TEST_DATABASE_URL")
env.text("TEST_REDIS_URL")
env.text("VM_CACHE")
env.refuse_unknown()
