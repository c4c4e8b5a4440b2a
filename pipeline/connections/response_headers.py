"""The headers of every answer, which tell browsers what not to do with it.

After the OWASP HTTP Headers Cheat Sheet, as far as it concerns a service without
cookies. TLS, and so Strict-Transport-Security, is for whatever stands before it.
"""

# The script within the page that /docs answers with; a test compares.
DOCS_SCRIPT = "sha256-P28/j37f0MgfkZ2lTEH5bnnfZ8YlHZ4cHtK+EWL/Qhw="

# Swagger UI sets styles on elements and has its icons in data: URLs.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src 'self' '{DOCS_SCRIPT}'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)

# As they are sent.
RESPONSE_HEADERS = (
    f"content-security-policy: {CONTENT_SECURITY_POLICY}\r\n"
    # An estimate is of the moment.
    "cache-control: no-store\r\n"
    "x-content-type-options: nosniff\r\n"
    # For browsers that do not know frame-ancestors.
    "x-frame-options: DENY\r\n"
).encode()
