"""The API runs where no torch, NumPy or MMDetection is installed."""

from __future__ import annotations

import subprocess
import sys


def test_the_api_the_client_and_the_command_import_without_torch():
    blocked = ("torch", "numpy", "mmdet", "mmcv", "mmengine", "pycocotools", "safetensors")
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
    code += "import api.main, api.client, api.cli, api.serve, api.embedded, api.demo"

    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert finished.returncode == 0, finished.stderr
