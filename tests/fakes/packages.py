"""Small service packages for tests, made in memory."""

import io
import json
import zipfile
from typing import Any

PYTHON_SERVER = """#!/usr/bin/env python3
import http.server, sys
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""
SLEEPER = "#!/bin/sh\necho started $1\nexec sleep 1000\n"


def service_json(**changes: Any) -> dict[str, Any]:
    """Return a minimal service.json with some keys changed."""
    return {"schema": 1, "name": "web", "version": "1.0.0", "entrypoint": "run.sh", **changes}


def make_zip(files: dict[str, str | bytes], manifest: dict[str, Any] | None = None, mode: int = 0o644) -> bytes:
    """Return a package zip; `manifest` becomes its service.json."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"service.json": json.dumps(manifest or service_json()), **files}.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return out.getvalue()
