"""Debian's aiosmtpd as a real mail server, run by Debian's Python: STARTTLS required, then AUTH required.

/usr/bin/python3 debian_mail.py CERTIFICATE KEY [tls]      prints its port, then one JSON line for each mail
"""

import json
import ssl
import sys
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


class Printer:
    async def handle_DATA(self, _server, session, envelope):  # noqa: N802 - the library's name
        told = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "user": session.auth_data}
        print(json.dumps(told | {"content": envelope.content.decode()}), flush=True)
        return "250 taken"


def log_in(_server, _session, _envelope, mechanism, data):
    is_right = (data.login, data.password) == (b"ops", b"pw-81")
    return AuthResult(success=is_right, handled=False, auth_data=f"{data.login.decode()} by {mechanism}")


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
options = {"authenticator": log_in, "auth_required": True, "hostname": "127.0.0.1", "port": int(sys.argv[3])}
options |= {"ssl_context": context} if "tls" in sys.argv else {"tls_context": context, "require_starttls": True}
if "tls" in sys.argv:
    options["auth_require_tls"] = False
controller = Controller(Printer(), **options)
controller.start()
print("ready", flush=True)
time.sleep(600)
