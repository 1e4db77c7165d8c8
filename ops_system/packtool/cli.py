"""`pack-tool`: init, validate, build, inspect, sign, push, keygen. Exit codes: 0 fine, 1 failed, 2 usage."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import msgspec

from ops_system.cli import EXIT_FAILED, EXIT_FINE, Argument, Command, Flag, Parsed, Program, parse, run_role
from ops_system.model.errors import Invalid, NotFound, OpsError, UsageError
from ops_system.model.kinds import BOOL, SECRET, TEXT, URL, Secret, choice, read_value
from ops_system.model.manifest import Manifest
from ops_system.model.manifest_rules import find_warnings
from ops_system.model.quantities import format_size
from ops_system.model.tasks import ImageFormat
from ops_system.packtool import sign
from ops_system.packtool.archive import Built, write_package
from ops_system.packtool.progress import Bar
from ops_system.packtool.push import push_package
from ops_system.packtool.sources import read_folder
from ops_system.packtool.starter import write_starter
from ops_system.packtool.wire import Master
from ops_system.packtool.words import Words
from ops_system.runtime.archives import ArchiveListing, inspect_zip, read_manifest
from ops_system.runtime.config import expand_value

NAME = "pack-tool"
_HEX_LENGTH = 64


def main() -> int:
    """Run the command line of this process and return its exit code."""
    return run_role(NAME, lambda argv: run(argv, Words(os.environ)))


def run(argv: list[str], words: Words) -> int:
    """Carry out one command. Raises OpsError other than Invalid, which is listed here line by line."""
    parsed = parse(program(words), argv)
    try:
        return _ACTIONS[parsed.command[0]](parsed, words)
    except Invalid as error:
        _complain(error)
        return EXIT_FAILED
    except OSError as error:
        raise NotFound(f"{error.filename or NAME}: {error.strerror or error}") from error


def program(words: Words) -> Program:
    """Return the command line in the language of `words`."""
    push_flags = (
        Flag("master", URL, words.say("flag.master"), "http://127.0.0.1:8080"),
        Flag("token", SECRET, words.say("flag.token")),
        Flag("ca", TEXT, words.say("flag.ca")),
        Flag("ca-sha256", TEXT, words.say("flag.ca_sha256")),
        Flag("allow_plain_http", BOOL, words.say("flag.allow_plain_http"), "0"),
    )
    image_flags = (
        Flag("key", TEXT, words.say("flag.key")),
        Flag("name", TEXT, words.say("flag.image")),
        Flag("image-version", TEXT, words.say("flag.image")),
        Flag("format", choice(*get_args(ImageFormat)), words.say("flag.image")),
    )
    folder, package = (Argument("DIR"),), (Argument("ZIP"),)
    return Program(
        NAME,
        words.say("about"),
        (
            Command(("init",), words.say("init"), folder),
            Command(("validate",), words.say("validate"), (Argument("DIR|ZIP"),)),
            Command(("build",), words.say("build"), folder, (Flag("o", TEXT, words.say("flag.o")),)),
            Command(("inspect",), words.say("inspect"), package),
            Command(("sign",), words.say("sign"), package, (Flag("key", TEXT, words.say("flag.key")),)),
            Command(("sign-image",), words.say("sign-image"), (Argument("FILE"),), image_flags),
            Command(("push",), words.say("push"), package, push_flags),
            Command(("keygen",), words.say("keygen"), (Argument("FILE"),)),
        ),
    )


# --- commands --------------------------------------------------------------------------------------------------------
def _init(parsed: Parsed, words: Words) -> int:
    folder = Path(parsed.arguments["DIR"])
    files = write_starter(folder, words)
    print(words.say("init.done", files=", ".join(files), folder=folder))
    return EXIT_FINE


def _validate(parsed: Parsed, words: Words) -> int:
    path = Path(parsed.arguments["DIR|ZIP"])
    if path.is_dir():
        folder = read_folder(path)
        manifest, size_bytes = folder.manifest, folder.total_bytes
        files = sum(not source.is_dir for source in folder.sources)
    else:
        built, listing = _read_package(path)
        manifest, size_bytes, files = built.manifest, listing.total_bytes, built.files
    names = {"name": manifest.name, "version": manifest.version}
    print(words.say("valid", **names, files=files, size=format_size(size_bytes)))
    _warn(manifest, words)
    return EXIT_FINE


def _build(parsed: Parsed, words: Words) -> int:
    source = Path(parsed.arguments["DIR"])
    written = parsed.text("o")
    given = Path(written).resolve() if written else None
    folder = read_folder(source, _products(given))
    target = given or Path(f"{folder.manifest.name}-{folder.manifest.version}.zip").resolve()
    if given is None:
        folder = read_folder(source, _products(target))
    with Bar(words.say("packing"), folder.total_bytes, sys.stderr) as bar:
        built = write_package(folder, target, bar.update)
    names = {"name": built.manifest.name, "version": built.manifest.version, "sha256": built.sha256}
    size = format_size(built.size_bytes)
    print(words.say("built", path=written or target.name, files=built.files, size=size, **names))
    _warn(built.manifest, words)
    return EXIT_FINE


def _inspect(parsed: Parsed, words: Words) -> int:
    path = Path(parsed.arguments["ZIP"])
    built, listing = _read_package(path)
    print(f"{built.manifest.name} {built.manifest.version}  {format_size(built.size_bytes)}  sha256 {built.sha256}")
    is_good = _show_signature(built, words)
    print(msgspec.json.format(msgspec.json.encode(built.manifest), indent=2).decode())
    for entry in listing.entries:
        mode = "drwxr-xr-x" if entry.is_dir else stat.filemode(0o100755 if entry.is_executable else 0o100644)
        print(f"{mode} {entry.size_bytes:>12} {entry.name}{'/' if entry.is_dir else ''}")
    _warn(built.manifest, words)
    return EXIT_FINE if is_good else EXIT_FAILED


def _sign(parsed: Parsed, words: Words) -> int:
    path, key = Path(parsed.arguments["ZIP"]), parsed.text("key")
    if not key:
        raise UsageError("sign needs --key FILE; pack-tool keygen FILE makes one")
    built, _ = _read_package(path)
    signature = sign.sign_package(built.manifest, built.sha256, built.size_bytes, Path(key))
    return _write_signature(path, signature, words)


def _sign_image(parsed: Parsed, words: Words) -> int:
    path = Path(parsed.arguments["FILE"])
    told = {name: parsed.text(name) for name in ("key", "name", "image-version", "format")}
    missing = [f"--{name}" for name, value in told.items() if not value]
    if missing:
        raise UsageError(
            "sign-image needs {missing}: as the image will be called at its upload", missing=", ".join(missing)
        )
    key = Path(told["key"])
    return _write_signature(
        path, sign.sign_image(path, told["name"], told["image-version"], told["format"], key), words
    )


def _write_signature(path: Path, signature: sign.Signature, words: Words) -> int:
    target = sign.signature_path(path)
    target.write_bytes(msgspec.json.format(msgspec.json.encode(signature), indent=2) + b"\n")
    names = {"name": signature.name, "version": signature.version}
    print(words.say("signed", path=target, key_id=signature.key_id, **names))
    return EXIT_FINE


def _push(parsed: Parsed, words: Words) -> int:
    master = _read_master(parsed)
    built, _ = _read_package(Path(parsed.arguments["ZIP"]))
    with Bar(words.say("sending"), built.size_bytes, sys.stderr) as bar:
        outcome = push_package(master, built, words, bar.update)
    print(outcome)
    return EXIT_FINE


def _keygen(parsed: Parsed, words: Words) -> int:
    path = Path(parsed.arguments["FILE"])
    key_id = sign.make_key(path)
    print(words.say("keygen.done", path=path, public=f"{path}.pub", key_id=key_id))
    return EXIT_FINE


_ACTIONS: dict[str, Callable[[Parsed, Words], int]] = {
    "init": _init,
    "validate": _validate,
    "build": _build,
    "inspect": _inspect,
    "sign": _sign,
    "sign-image": _sign_image,
    "push": _push,
    "keygen": _keygen,
}


# --- parts -----------------------------------------------------------------------------------------------------------
def _products(target: Path | None) -> frozenset[Path]:
    """What a build writes; it must not pack its own output."""
    if target is None:
        return frozenset()
    return frozenset({target, sign.signature_path(target), target.with_name(f".{target.name}.tmp")})


def _read_package(path: Path) -> tuple[Built, ArchiveListing]:
    listing = inspect_zip(path)
    manifest = read_manifest(path, listing)
    files = sum(not entry.is_dir for entry in listing.entries)
    return Built(path, manifest, listing.file_bytes, files), listing


def _read_master(parsed: Parsed) -> Master:
    token = expand_value(parsed.text("token"), "-token", sys.stdin.read)
    if not token:
        raise UsageError(
            "push needs --token T, @FILE or -; make one with: ops-master token create NAME --role operator"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("-token: this is no API token; copy it again, whole")
    ca_hash = parsed.text("ca-sha256")
    if ca_hash and (len(ca_hash) != _HEX_LENGTH or set(ca_hash.lower()) - set("0123456789abcdef")):
        raise UsageError("-ca-sha256: write the 64 hexadecimal digits of the SHA-256")
    url = read_value(URL, parsed.text("master", "http://127.0.0.1:8080"), "-master")
    return Master(
        url=str(url),
        token=Secret(token),
        ca_file=parsed.text("ca"),
        ca_key_sha256=ca_hash,
        is_plain_allowed=parsed.switch("allow_plain_http"),
    )


def _show_signature(built: Built, words: Words) -> bool:
    path = sign.signature_path(built.path)
    if not path.exists():
        print(words.say("signature.none"))
        return True
    signature = sign.read_signature(path)
    if not sign.is_good(signature, built.sha256, built.size_bytes):
        print(words.say("signature.bad", path=path))
        return False
    print(words.say("signature.good", key_id=signature.key_id))
    return True


def _warn(manifest: Manifest, words: Words) -> None:
    for text in find_warnings(manifest):
        print(words.say("warning", text=text), file=sys.stderr)


def _complain(error: OpsError) -> None:
    """Every problem on a line of its own, so that all can be mended in one go."""
    problems = error.details.get("problems")
    if not isinstance(problems, list) or not problems:
        print(f"{NAME}: {error.message}", file=sys.stderr)
        return
    heading, _, _ = error.message.partition(f": {problems[0]}")
    print(f"{NAME}: {heading}", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
