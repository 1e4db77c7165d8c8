#!/bin/sh
# ops-system @ROLE@. This file unpacks itself once, into a folder that no cleaner empties, and runs from there.
# OPS_RUNTIME_DIR names another place to unpack to.
set -u
id='@ID@'
case $0 in */*) self=$0 ;; *) if [ -f "$0" ]; then self=$0; else self=$(command -v -- "$0"); fi ;; esac
case $self in /*) ;; *) self=$PWD/$self ;; esac

unpack_to() {
    [ -x "$1/$id/@ROLE@" ] && [ -O "$1/$id" ] && return 0
    mkdir -p -- "$1" 2>/dev/null && [ -w "$1" ] || return 1
    half=$1/.$id.$$
    mkdir -p -m 0700 -- "$half/$id" || return 1
    tail -n +@FIRST@ -- "$self" | tar -xzf - -C "$half/$id" && [ -x "$half/$id/@ROLE@" ] && sync &&
        mv -- "$half/$id" "$1/" 2>/dev/null
    rm -rf -- "$half"
    [ -x "$1/$id/@ROLE@" ] && [ -O "$1/$id" ]
}

if [ -n "${OPS_RUNTIME_DIR:-}" ]; then
    place=$OPS_RUNTIME_DIR
elif [ "$(id -u)" = 0 ]; then
    place=/var/lib/ops-system/runtime
else
    place=${XDG_DATA_HOME:-${HOME:-/nonexistent}/.local/share}/ops-system/runtime
fi
unpack_to "$place" || {
    beside=$(dirname -- "$self")/.ops-runtime
    unpack_to "$beside" || {
        echo "@ROLE@: cannot unpack to $place nor to $beside; name a writable folder by OPS_RUNTIME_DIR" >&2
        exit 1
    }
    place=$beside
}
OPS_EXECUTABLE=$self
export OPS_EXECUTABLE
exec "$place/$id/@ROLE@" "$@"
exit 1
