# syntax=docker/dockerfile:1
# The compiled recognizers and face finders as an image of their own: what copies them to where services and Triton look.
# Build it after the enroll image, from the repository's root; its only network access is the registries' of npm and PyPI:
#
#   docker build -f deploy/images/models.Dockerfile -t facecloak-models:0.1.0 \
#       --build-arg ENROLL_IMAGE=facecloak-enroll:0.1.0-cpu .
#
# Behind mirrors of your own: --build-arg NPM_CONFIG_REGISTRY=..., PIP_INDEX_URL=..., and for their authority
# --secret id=ca,src=FILE --build-arg CA_FILE=/run/secrets/ca.
ARG ENROLL_IMAGE=facecloak-enroll:0.1.0-cpu
ARG BASE_IMAGE=busybox:1.37

FROM ${ENROLL_IMAGE} AS pull
# npm and pip read these variables themselves.
ARG NPM_CONFIG_REGISTRY
ARG PIP_INDEX_URL
ARG CA_FILE
ENV NPM_CONFIG_CAFILE=${CA_FILE} PIP_CERT=${CA_FILE}
RUN --mount=type=secret,id=ca,uid=65532 \
    facecloak models pull --repository /models
# What Triton serves: cpu, gpu or gpu-tensorrt.
ARG TRITON_PROFILE=cpu
RUN facecloak models build --repository /models --profile "${TRITON_PROFILE}" --output /tmp/triton

FROM ${BASE_IMAGE}
COPY --from=pull /models /models
COPY --from=pull /tmp/triton /triton
USER 65532:65532
# What an init step runs: /repository is the volume that the services mount.
ENTRYPOINT ["cp", "-R", "/models/.", "/repository/"]
