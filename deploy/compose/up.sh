#!/usr/bin/env bash
# One command up: makes .env with keys of its own where there is none, builds, starts, and waits until all is ready.
set -euo pipefail
cd "$(dirname "$0")"
if [ ! -e .env ]; then
    umask 077
    random() { head -c "$1" /dev/urandom | base64 | tr -d '\n'; }
    sed -e "s|^MASK_KEY=.*|MASK_KEY=$(random 32)|" \
        -e "s|^S3_SECRET_KEY=.*|S3_SECRET_KEY=$(random 24 | tr '+/' '-_')|" \
        -e "s|^GRAFANA_PASSWORD=.*|GRAFANA_PASSWORD=$(random 12 | tr '+/' '-_')|" \
        -e "s|^CLIENT_USER=.*|CLIENT_USER=$(id -u):$(id -g)|" \
        -e '1s/.*/# Made by up.sh. MASK_KEY seals every mask: lost, none can be read again./' example.env > .env
fi
mkdir -p photos
docker compose build enroll
docker compose up --build --detach --wait "$@"
