"""The master's data folder: which file stands where. Everything that reads or writes DATA asks here for names."""

import os
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from ops_system.runtime.files import stat_each, write_atomic


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Names below DATA. `db_path` and `upload_dir` move two of them elsewhere; None is the default place."""

    root: Path
    db_path: Path | None = None
    upload_dir: Path | None = None

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.db_path or self.root / "ops.db"

    @property
    def uploads(self) -> Path:
        """Where the local blob store lives."""
        return self.upload_dir or self.root / "uploads"

    @property
    def lock(self) -> Path:
        """Held by the one running master."""
        return self.root / "lock"

    @property
    def init_lock(self) -> Path:
        """Held for a moment by whoever creates or migrates what stands in DATA."""
        return self.root / "init.lock"

    @property
    def restore_marker(self) -> Path:
        """Exists from the commit of a restore until everything is in its place."""
        return self.root / "restore.ready"

    @property
    def initialized(self) -> Path:
        """Exists once database and keys were made; from then on a missing one is damage, not a first start."""
        return self.root / ".initialized"

    @property
    def setup_code(self) -> Path:
        """The one-time code of the first setup."""
        return self.root / "setup-code"

    @property
    def master_key(self) -> Path:
        """32 random bytes that seal secrets."""
        return self.root / "master.key"

    @property
    def signing_key(self) -> Path:
        """The Ed25519 key that signs packages."""
        return self.root / "signing.key"

    @property
    def ca(self) -> Path:
        """Folder of the certificate authority and the leaf it issued."""
        return self.root / "ca"

    @property
    def backups(self) -> Path:
        """Folder of the hourly copies of the database."""
        return self.root / "backups"

    @property
    def archives(self) -> Path:
        """Folder of the backups kept on this machine."""
        return self.backups / "archives"

    @property
    def recordings(self) -> Path:
        """Folder of what terminals said."""
        return self.root / "recordings"

    @property
    def metrics(self) -> Path:
        """Folder of the history of metrics: a folder for each node and instance."""
        return self.root / "metrics"

    @property
    def provision(self) -> Path:
        """The file of the embedded store: the state of installations."""
        return self.root / "provision.db"

    @property
    def is_initialized(self) -> bool:
        """Whether a first start was completed here."""
        return self.initialized.exists()

    def create(self) -> None:
        """Make DATA, readable by its owner alone. A folder that holds other people's things keeps its mode."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_ours = self.is_initialized or not any(self.root.iterdir())
        if os.name == "posix" and is_ours and self.root.stat().st_uid == os.geteuid():
            self.root.chmod(0o700)

    def mark_initialized(self) -> None:
        """Remember on disk that database and keys exist."""
        if not self.is_initialized:
            write_atomic(self.initialized, b"The database and the keys in this folder are in use. Keep this file.\n")

    def backups_found(self) -> list[Path]:
        """Copies of the database that lie in DATA, newest first."""
        beside = self.database.parent.glob(f"{self.database.name}.before-*")
        kept = self.backups.glob("*")
        files = [(stat.st_mtime, path) for path, stat in stat_each((*beside, *kept)) if S_ISREG(stat.st_mode)]
        return [path for _, path in sorted(files, reverse=True)]
