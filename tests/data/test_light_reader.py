from __future__ import annotations

import subprocess
import sys


def test_reading_a_radiograph_imports_neither_torch_nor_monai() -> None:
    # Ingest decodes in worker processes: torch in each would cost seconds and hundreds of megabytes.
    program = "import sys, medtea.data.reader; print({'torch', 'monai', 'pandas'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"
