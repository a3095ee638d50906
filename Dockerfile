# syntax=docker/dockerfile:1
# Two images of one code:
#   api     the HTTP API and the migrations: no torch, but what runs exported detectors
#   worker  the GPU worker and the reconciler, which checks teachers with torch
#
#   docker build --target api -t pgd-api .
#   docker build --target worker -t pgd-worker .

ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/pgd/bin:$PATH
# tini reaps what trainers leave behind and hands SIGTERM on.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home --home-dir /home/pgd pgd \
    && install --directory --owner pgd --group pgd --mode 0750 /data
# A new volume takes the owner of the folder that it is mounted over.
ENV PGD_DATA_FOLDER=/data
WORKDIR /home/pgd
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tini", "--"]


# Dependencies first, from the two files that name them: a change of the code keeps these layers.
FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/pgd
ENV PATH=/opt/pgd/bin:$PATH
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./

FROM dependencies AS api-install
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[predict,postgres,s3]'
COPY api api
COPY worker worker
COPY pgd_core pgd_core
COPY migrations migrations
RUN pip install --no-deps --force-reinstall .

FROM dependencies AS worker-install
# PyPI's torch for Linux brings the CUDA libraries with it; the host has only the driver. For a
# machine without GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH_INDEX=
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
# timm's networks alone: they need no torchvision.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt '.[worker,postgres,s3]' \
    && pip install -c constraints.txt --no-deps timm
COPY api api
COPY worker worker
COPY pgd_core pgd_core
COPY migrations migrations
RUN pip install --no-deps --force-reinstall .


FROM base AS api
COPY --from=api-install /opt/pgd /opt/pgd
USER pgd
ENV PGD_HOST=0.0.0.0 PGD_PORT=8080
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['PGD_PORT'] + '/readyz', timeout=9)"]
CMD ["python", "-m", "api.serve"]


FROM base AS worker
# What OpenCV links against.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=worker-install /opt/pgd /opt/pgd
USER pgd
# The NVIDIA runtime hands the container the GPUs, and NVML to ask them how full they are.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MPLCONFIGDIR=/tmp/matplotlib
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "worker.health", "worker"]
CMD ["python", "-m", "worker.main"]
