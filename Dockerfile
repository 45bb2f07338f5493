# Two images from one file: the API without torch, and the worker.
FROM python:3.12-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 fdkd && mkdir /data && chown fdkd /data && chmod 700 /data
WORKDIR /srv/fdkd
COPY pyproject.toml constraints.txt README.md ./
COPY fdkd_core fdkd_core
COPY fdkd_client fdkd_client
COPY service service
COPY worker worker
COPY migrations migrations

FROM base AS api
RUN pip install -c constraints.txt -e '.[service,client]'
USER fdkd

FROM base AS worker
# The default build of torch on Linux brings CUDA. For a much smaller image without it, set the build argument to the
# index of CPU builds that pytorch.org names.
ARG TORCH_INDEX=
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0 \
 && pip install -c constraints.txt -e '.[core,service]'
USER fdkd
