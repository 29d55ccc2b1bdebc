"""S3-compatible remotes, through boto3, which dvc-s3 brings; imported only for such a remote."""

from __future__ import annotations

import io
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stages.core.addresses import Settings
from stages.core.errors import MachineError
from stages.core.transports import CHUNK_BYTES, LOOK_S, MOVE_S, Sink, Unreachable, plain

SINGLE_PUT_BYTES = 1 << 30
"""Larger objects go in parts, each checked by the client library's own checksum."""
ABSENT = ("404", "NoSuchKey", "NotFound")
TRUE = ("true", "1", "yes", "on")


class Bucket:
    """A bucket of an S3-compatible store."""

    writable = True

    def __init__(self, settings: Settings) -> None:
        try:
            import boto3
        except ImportError:
            raise MachineError(
                "the remote is on S3, and the package boto3 is not installed",
                f".dvc/config: remote {settings.name}",
                "`pip install dvc-s3`, or `make setup`, which installs what the lock names",
            ) from None
        parts = urlsplit(settings.url)
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/")
        self.options = settings.options
        self.session = boto3.Session(
            profile_name=self.options.get("profile"),
            aws_access_key_id=self.options.get("access_key_id"),
            aws_secret_access_key=self.options.get("secret_access_key"),
            aws_session_token=self.options.get("session_token"),
            region_name=self.options.get("region"),
        )
        self._clients: dict[tuple[float, float], Any] = {}
        self._making = threading.Lock()

    def begin(self) -> None:
        """Do nothing: a bucket is made by whoever owns the store."""

    def _client(self, times: tuple[float, float]) -> Any:
        from botocore import UNSIGNED
        from botocore.config import Config

        with self._making:
            if times not in self._clients:
                anonymous = self.options.get("allow_anonymous_login", "false").lower() == "true"
                verify = self.options.get("ssl_verify", "true")
                settings = Config(
                    connect_timeout=times[0],
                    read_timeout=times[1],
                    retries={"total_max_attempts": 1 if times == LOOK_S else 3},
                    signature_version=UNSIGNED if anonymous else None,
                )
                self._clients[times] = self.session.client(
                    "s3",
                    endpoint_url=self.options.get("endpointurl"),
                    use_ssl=self.options.get("use_ssl", "true").lower() != "false",
                    verify={"true": None, "false": False}.get(verify.lower(), verify),
                    config=settings,
                )
            return self._clients[times]

    def _ask(self, method: str, path: str, times: tuple[float, float], **more: Any) -> Any:
        """Return the answer, or None where there is no such object."""
        from botocore.exceptions import BotoCoreError, ClientError

        key = f"{self.prefix}/{path}".lstrip("/")
        try:
            return getattr(self._client(times), method)(Bucket=self.bucket, Key=key, **more)
        except ClientError as error:
            told = error.response.get("Error", {})
            if str(told.get("Code")) in ABSENT:
                return None
            raise Unreachable(
                f"s3://{self.bucket}: {told.get('Code')} {told.get('Message')}"
            ) from None
        except (BotoCoreError, ValueError) as error:  # a ValueError is a malformed endpoint
            raise Unreachable(f"s3://{self.bucket}: {plain(error)}") from None

    def read(self, path: str) -> bytes | None:
        """Return a small object, or None."""
        data = io.BytesIO()
        return data.getvalue() if self._append(path, data, LOOK_S) else None

    def size(self, path: str) -> int | None:
        """Return an object's size, or None."""
        answer = self._ask("head_object", path, LOOK_S)
        return None if answer is None else int(answer["ContentLength"])

    def names(self, folder: str) -> list[str] | None:
        """Return the objects below a prefix, sorted."""
        from botocore.exceptions import BotoCoreError, ClientError

        start = f"{self.prefix}/".lstrip("/")
        try:
            pages = self._client(LOOK_S).get_paginator("list_objects_v2")
            rows = pages.paginate(Bucket=self.bucket, Prefix=f"{start}{folder}/")
            keys = [row["Key"] for page in rows for row in page.get("Contents", [])]
        except (BotoCoreError, ClientError, ValueError) as error:
            raise Unreachable(f"s3://{self.bucket}: {plain(error)}") from None
        return sorted(key.removeprefix(start) for key in keys)

    def download(self, path: str, target: Sink) -> bool:
        """Append an object to an open file."""
        return self._append(path, target, MOVE_S)

    def _append(self, path: str, target: Sink, times: tuple[float, float]) -> bool:
        from botocore.exceptions import BotoCoreError

        answer = self._ask("get_object", path, times)
        if answer is None:
            return False
        try:
            for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                target.write(chunk)
        except (BotoCoreError, OSError) as error:
            raise Unreachable(f"s3://{self.bucket}: {plain(error)}") from None
        return True

    def upload(self, path: str, source: Path, md5: str) -> None:
        """Send a file; the server refuses it if other bytes arrive."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if source.stat().st_size <= SINGLE_PUT_BYTES:
            with source.open("rb") as stream:
                digest = b64encode(bytes.fromhex(md5)).decode()
                if self._ask("put_object", path, MOVE_S, Body=stream, ContentMD5=digest) is None:
                    raise Unreachable(f"s3://{self.bucket}: there is no such bucket")
            return
        try:
            key = f"{self.prefix}/{path}".lstrip("/")
            self._client(MOVE_S).upload_file(str(source), self.bucket, key)
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise Unreachable(f"s3://{self.bucket}: {plain(error)}") from None

    def write(self, path: str, data: bytes) -> None:
        """Write a small object."""
        self._ask("put_object", path, MOVE_S, Body=data)
