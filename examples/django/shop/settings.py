import os
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

BASE_DIR = Path(__file__).resolve().parent.parent
INSTALLED_APPS = ["shop"]
SECRET_KEY = os.environ.get("SECRET_KEY", "only for this example")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

_url = conninfo_to_dict(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url.pop("dbname"),
        "USER": _url.pop("user", ""),
        "PASSWORD": _url.pop("password", ""),
        "HOST": _url.pop("host", ""),
        "PORT": _url.pop("port", ""),
        "OPTIONS": _url,
    }
}

# Backfills within `migrate`, for new and small databases: those of developers and of `manage.py test`, where nobody
# runs them beforehand.
RUN_BACKFILLS_HERE = os.environ.get("RUN_BACKFILLS_HERE") == "yes"
