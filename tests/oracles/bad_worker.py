"""Worker processes whose jobs do everything that a hostile file can do to one."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from medtea.core.errors import DataError
from medtea.ingest.worker import Answer, serve


def bad(*, does: str, value: int = 0) -> Answer:
    facts: dict[str, Any] = {"value": value, "pid": os.getpid()}
    if does == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif does == "leave":
        os._exit(3)
    elif does == "starve":
        os.kill(os.getpid(), signal.SIGKILL)  # what the system does to whoever takes its last memory
    elif does == "hang":
        time.sleep(60)
    elif does == "hang on":
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(60)
    elif does == "eat":
        bytes(2**31)
    elif does == "eat and tell":
        try:
            bytes(2**31)
        except MemoryError:
            raise DataError("it is damaged") from None
    elif does == "lie":
        os.write(next(fd for fd in range(3, 20) if _is_socket(fd)), b"\x00\x00\x00\x04{[}]")
        time.sleep(60)
    elif does == "raise":
        raise ValueError("Zimmermann")
    elif does == "refuse":
        raise DataError("no radiograph")
    elif does == "modules":
        facts["modules"] = sorted({"torch", "monai", "pandas", "mlflow"} & set(sys.modules))
    return facts, bytes([value % 256]) * 3


def _is_socket(descriptor: int) -> bool:
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith("socket")
    except OSError:
        return False


if __name__ == "__main__":
    serve({"bad": bad})
