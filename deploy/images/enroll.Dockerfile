# syntax=docker/dockerfile:1
# The enrollment service and the `facecloak` command, for CPUs and for NVIDIA GPUs. Build from the repository's root:
#
#   docker build -f deploy/images/enroll.Dockerfile --target cpu -t facecloak-enroll:0.1.0-cpu \
#       --build-arg TORCH=cpu --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's index of CPU builds> .
#   docker build -f deploy/images/enroll.Dockerfile --target gpu -t facecloak-enroll:0.1.0-gpu .
#
# Without TORCH=cpu the CPU image works too, and is gigabytes larger: the default torch brings CUDA. Behind a mirror of your
# own: --build-arg PIP_INDEX_URL=..., and for its authority --secret id=ca,src=FILE --build-arg PIP_CERT=/run/secrets/ca.
ARG PYTHON_IMAGE=python:3.11-bookworm
ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG RUST_IMAGE=rust:1.95-slim-bookworm

FROM ${RUST_IMAGE} AS rust

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# The compiler of the splice codec and, in the full Python image, its linker.
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup
ENV PATH=/usr/local/cargo/bin:$PATH
RUN python -m venv /opt/facecloak
ENV PATH=/opt/facecloak/bin:$PATH
COPY deploy/images/enroll.lock deploy/images/torch-cpu.lock deploy/images/torch-cuda.lock deploy/images/gpu.lock \
    deploy/images/build.lock deploy/images/
# pip reads these variables itself.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ARG PIP_CERT
RUN --mount=type=secret,id=ca \
    pip install --no-cache-dir --no-deps --require-hashes -r deploy/images/enroll.lock
# cuda or cpu: each build of torch with its own dependencies, all by hash.
ARG TORCH=cuda
RUN --mount=type=secret,id=ca \
    pip install --no-cache-dir --no-deps --require-hashes -r "deploy/images/torch-${TORCH}.lock"
RUN --mount=type=secret,id=ca \
    pip install --no-cache-dir --no-deps --require-hashes -r deploy/images/build.lock
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE NOTICE ./
COPY protos protos
COPY native native
COPY facecloak facecloak
COPY facecloak_client facecloak_client
COPY facecloak_rpc facecloak_rpc
COPY apply_service apply_service
COPY enroll_service enroll_service
COPY facecloak_evaluation facecloak_evaluation
COPY facecloak_backfill facecloak_backfill
COPY facecloak_studio facecloak_studio
# The package is built without its codec where that fails; an image must not be.
ENV FACECLOAK_CODEC=required
RUN pip install --no-cache-dir --no-deps --no-build-isolation --no-index . \
    && pip check

FROM build AS build-gpu
ARG PIP_INDEX_URL
ARG PIP_CERT
# The two engines install the same package folder: one goes before the other comes.
RUN --mount=type=secret,id=ca \
    pip uninstall --yes onnxruntime \
    && pip install --no-cache-dir --no-deps --require-hashes -r deploy/images/gpu.lock

FROM ${BASE_IMAGE} AS run
ENV PATH=/opt/facecloak/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    FACECLOAK_MODEL_REPOSITORY=/models \
    FACECLOAK_ENROLL_HOST=0.0.0.0 \
    FACECLOAK_ENROLL_METRICS_PORT=9101 \
    FACECLOAK_ENROLL_STORE__DATA=/data
RUN mkdir /data /models /audit && chown 65532:65532 /data /models /audit
USER 65532:65532
WORKDIR /data
EXPOSE 50061 9101
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "enroll_service"]

FROM run AS gpu
COPY --from=build-gpu /opt/facecloak /opt/facecloak
# For the container toolkit; the CUDA libraries themselves come with torch.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM run AS cpu
COPY --from=build /opt/facecloak /opt/facecloak
