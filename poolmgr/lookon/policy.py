"""What a browser may load on the console's pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.templatetags.static import static


def content_security_policy() -> str:
    """Only our own files, from where the site serves them; nothing inline."""
    address = urlsplit(static("poolmgr/dashboard.js"))
    files = f"'self' {address.scheme}://{address.netloc}" if address.netloc and address.scheme else "'self'"
    return "; ".join(
        (
            f"default-src {files}",
            f"img-src {files} data:",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )
