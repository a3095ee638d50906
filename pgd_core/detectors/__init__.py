"""MMDetection's dense detectors: built from a spec, checked against weights, distilled."""

from pgd_core.detectors import operators

operators.install()  # before anything below imports mmdet
