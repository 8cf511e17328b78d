# syntax=docker/dockerfile:1
# The apply service: no torch, no compiler, no shell. Build from the repository's root:
#
#   docker build -f deploy/images/apply.Dockerfile -t facecloak-apply:0.1.0 .
#
# Behind a mirror of your own: --build-arg PIP_INDEX_URL=..., and for its authority
# --secret id=ca,src=FILE --build-arg PIP_CERT=/run/secrets/ca.
# For builds that agree to the last byte, give the base images by digest (--build-arg PYTHON_IMAGE=...@sha256:...).
ARG PYTHON_IMAGE=python:3.11-bookworm
ARG RUST_IMAGE=rust:1.95-slim-bookworm
# Debian 12's Python 3.11 and what compiled wheels need (glibc, libstdc++), and nothing else; runs as user 65532.
ARG BASE_IMAGE=gcr.io/distroless/python3-debian12:nonroot

FROM ${RUST_IMAGE} AS rust

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
# The compiler of the splice codec and, in the full Python image, its linker.
COPY --from=rust /usr/local/cargo /usr/local/cargo
COPY --from=rust /usr/local/rustup /usr/local/rustup
ENV CARGO_HOME=/usr/local/cargo RUSTUP_HOME=/usr/local/rustup
ENV PATH=/usr/local/cargo/bin:$PATH
COPY deploy/images/apply.lock deploy/images/build.lock deploy/images/
# pip reads these variables itself.
ARG PIP_INDEX_URL
ARG PIP_CERT
RUN --mount=type=secret,id=ca \
    pip install --no-cache-dir --no-compile --no-deps --require-hashes --target /opt/facecloak -r deploy/images/apply.lock
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
RUN pip install --no-cache-dir --no-compile --no-deps --no-build-isolation --no-index --target /opt/facecloak .
# What a running service never loads: tests, type stubs, tools for making models, and ONNX Runtime's C library (its Python
# module has the engine inside a second time).
RUN find /opt/facecloak -type d \( -name tests -o -name SelfTest \) -prune -exec rm -rf {} + \
    && find /opt/facecloak -name '*.pyi' -delete \
    && rm -rf /opt/facecloak/onnxruntime/capi/libonnxruntime.so.* /opt/facecloak/onnxruntime/quantization \
        /opt/facecloak/onnxruntime/tools /opt/facecloak/onnxruntime/transformers

FROM ${BASE_IMAGE}
COPY --from=build /opt/facecloak /opt/facecloak
ENV HOME=/tmp \
    PYTHONPATH=/opt/facecloak \
    PYTHONDONTWRITEBYTECODE=1 \
    FACECLOAK_MODEL_REPOSITORY=/models \
    FACECLOAK_APPLY_HOST=0.0.0.0 \
    FACECLOAK_APPLY_METRICS_PORT=9102 \
    FACECLOAK_APPLY_STORE__DATA=/data
USER 65532:65532
WORKDIR /data
EXPOSE 50062 9102
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/python3.11", "-m", "apply_service"]
