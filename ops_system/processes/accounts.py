"""Running as another user (POSIX): setpriv from util-linux drops the rights in place. Used by `posix`."""

import os
import pwd
import shutil

import msgspec

from ops_system.model.errors import Invalid


def as_user(user: str) -> list[str]:
    """Return the command that drops to `user`. Raises Invalid when that cannot be done here."""
    if not user or user == pwd.getpwuid(os.geteuid()).pw_name:
        return []
    entry = find_user(user)
    if os.geteuid() != 0:
        raise Invalid(f'cannot run as "{user}": the worker itself does not run as root')
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise Invalid(f'cannot run as "{user}": setpriv (util-linux) is not installed on this node')
    return [setpriv, f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups", "--no-new-privs", "--"]


def find_user(user: str) -> pwd.struct_passwd:
    """Return the account. Raises Invalid when there is none."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise Invalid(f'user "{user}" does not exist on this node; create it or change `user`') from None


def user_env(user: str) -> dict[str, str]:
    """Return what of the environment belongs to the user, not to the worker."""
    return {"HOME": find_user(user).pw_dir} if user else {}


class Login(msgspec.Struct, frozen=True):
    """Who a login shell is for."""

    name: str
    home: str
    shell: str


def login_of(user: str) -> Login:
    """Return the login of `user` (empty: our own). Raises Invalid when there is no such account."""
    entry = find_user(user) if user else pwd.getpwuid(os.geteuid())
    return Login(entry.pw_name, entry.pw_dir, entry.pw_shell or "/bin/sh")
