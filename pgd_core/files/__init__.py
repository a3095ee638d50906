"""Blobs by key: uploads, teachers' weights and published artifacts."""

from pgd_core.files.local import LocalFileStore

__all__ = ["LocalFileStore"]
