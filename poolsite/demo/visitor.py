"""The session of a user who is not staff: python -m poolsite.demo.visitor prints its key, for the self-check."""

import os

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "poolsite.settings")
    django.setup()
    # The only log-in page is the admin's, which lets nobody in who is not staff: the session is made by hand.
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
    from django.contrib.sessions.backends.db import SessionStore

    visitor, _ = get_user_model().objects.get_or_create(username="visitor")
    session = SessionStore()
    session[SESSION_KEY] = str(visitor.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = visitor.get_session_auth_hash()
    session.create()
    print(session.session_key)


if __name__ == "__main__":
    main()
