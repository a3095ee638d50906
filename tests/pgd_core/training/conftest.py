from __future__ import annotations

import pytest
import torch
from mmdet.utils import register_all_modules
from mmengine.logging import MMLogger
from safetensors.torch import save_file

from pgd_core.detectors.build import build_detector
from pgd_core.jobs.run import DatasetFiles, TeacherFile
from pgd_core.jobs.spec import DetectorName
from pgd_core.training.checkpoints import sha256_of
from tests.pgd_core.detectors.batches import small_spec
from tests.pgd_core.training.runs import CLASSES, digit_files


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> None:
    MMLogger.get_instance("tests", log_level="WARNING")
    register_all_modules(init_default_scope=True)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> DatasetFiles:
    return digit_files(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TeacherFile]:
    """A teacher of each detector, with random weights."""
    folder, found = tmp_path_factory.mktemp("teachers"), {}
    for detector in DetectorName:
        torch.manual_seed(3)
        spec = small_spec(detector)
        model = build_detector(spec, len(CLASSES))
        model.init_weights()
        path = folder / f"{detector}.safetensors"
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
        found[detector] = TeacherFile(
            weights=path, sha256=sha256_of(path), model=spec, classes=CLASSES
        )
    return found
