"""Example bodies in the OpenAPI document."""

from __future__ import annotations

from fastapi.openapi.models import Example

_DATASET = "01990a6e-6c1f-7a52-b1a3-2f3f3c6d9a10"
_TEACHER = "01990a71-02bd-7c60-9d55-5e0f7a1b4c22"
_UPLOAD = "01990a6d-11d2-7b33-8c4e-70b1d5f2a6e9"
_JOB = "01990a73-9c44-7b1e-8a07-4d1c5b2e9f31"

CHANGE_EXAMPLES: dict[str, Example] = {
    "first": {"summary": "Let it go before others", "value": {"priority": "high"}},
    "elsewhere": {
        "summary": "Move it to other workers, and ask for less",
        "value": {"pool": "a100", "gpus": 1, "min_memory_mb": 0},
    },
}
TEAM_EXAMPLES: dict[str, Example] = {
    "vision": {
        "summary": "Twice the share of others, at most 4 GPUs at once and 50 jobs waiting",
        "value": {"weight": 2, "max_running_gpus": 4, "max_queued_jobs": 50},
    },
    "free": {"summary": "No limits", "value": {"weight": 1}},
}

KEY_EXAMPLES: dict[str, Example] = {
    "person": {
        "summary": "For somebody of the team",
        "value": {"name": "mira", "role": "submitter"},
    },
    "display": {
        "summary": "For a screen that shows the queue, until the end of the year",
        "value": {"name": "screen", "role": "viewer", "expires_at": "2099-12-31T00:00:00Z"},
    },
    "operator": {
        "summary": "For whoever runs the service",
        "value": {"name": "ops", "role": "admin", "all_teams": True},
    },
}

DATASET_EXAMPLES: dict[str, Example] = {
    "upload": {
        "summary": "An archive that was sent to /v1/uploads",
        "value": {"name": "street", "source": {"upload": _UPLOAD}},
    },
    "s3": {
        "summary": "A prefix of a bucket, where the server allows it",
        "value": {"name": "street", "source": {"s3": "s3://team-data/street/2026"}},
    },
    "folder": {
        "summary": "A folder of the server with train.json, train/, val.json and val/",
        "value": {"name": "street", "folder": "/srv/data/street"},
    },
}

JOB_EXAMPLES: dict[str, Example] = {
    "distill": {
        "summary": "Distil MobileNetV2 at half width, and measure what distillation gained",
        "value": {
            "kind": "distill",
            "name": "street scenes, light",
            "dataset": _DATASET,
            "teacher": _TEACHER,
            "student": {"name": "mobilenet_v2", "width": 0.5},
            "method": {"name": "pgd"},
            "twins": ["plain", "head_only"],
            "input": {"long_side": 1333, "short_side": 800},
            "training": {"epochs": 12, "batch_size": 16, "seed": 1},
        },
    },
    "export": {
        "summary": "Write a finished job's student as ONNX, compared with torch",
        "value": {"kind": "export", "dataset": _DATASET, "job": _JOB},
    },
    "train": {
        "summary": "Train a teacher",
        "value": {
            "kind": "train",
            "dataset": _DATASET,
            "model": {"detector": "fcos", "backbone": {"name": "resnet50", "weights": "imagenet"}},
            "training": {"epochs": 12},
        },
    },
    "evaluate": {
        "summary": "Measure a teacher on the validation pictures",
        "value": {"kind": "evaluate", "dataset": _DATASET, "teacher": _TEACHER},
    },
    "study": {
        "summary": "Compare methods on one detector over three seeds",
        "value": {
            "kind": "study",
            "name": "which method for our FCOS",
            "dataset": _DATASET,
            "teachers": {"fcos": _TEACHER},
            "student": {"name": "resnet18", "weights": "imagenet"},
            "matrices": [{"axes": [{"field": "method", "values": ["fgd", "pgd"]}]}],
            "seeds": [0, 1, 2],
            "training": {"epochs": 12, "batch_size": 16},
        },
    },
    "analyse": {
        "summary": "Draw where a teacher predicts well, and what hiding its best predictions costs",
        "value": {
            "kind": "analyse",
            "dataset": _DATASET,
            "teacher": _TEACHER,
            "pictures": 8,
            "hide_percents": [0, 0.5, 1, 2, 5, 10],
        },
    },
}
