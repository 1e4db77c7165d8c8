"""ops-system: master, worker, pack tool and provisioning in one package."""

__version__ = "0.1.0"
