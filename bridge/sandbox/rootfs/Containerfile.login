# Makes: the node where the bridge runs: a node with the bridge's dependencies in a venv.
# Needs: NODE, the image of Containerfile.node; requirements.txt and constraints.txt in the context.
# Leaves: /opt/bridge/venv and /usr/local/bin/bridge. The package itself is not in the image: it is
#   mounted at /opt/bridge/src, so that a change of the source needs no new image.
ARG NODE
FROM ${NODE}
RUN apt-get -qq update && apt-get -qq install python3-venv > /dev/null \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
ARG PIP_CERT
ARG PIP_INDEX_URL
COPY requirements.txt constraints.txt /opt/bridge/
RUN python3 -m venv /opt/bridge/venv \
 && /opt/bridge/venv/bin/pip --quiet --disable-pip-version-check --no-cache-dir install \
      --constraint /opt/bridge/constraints.txt --requirement /opt/bridge/requirements.txt \
 && /opt/bridge/venv/bin/python -c \
      'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "bridge.pth").write_text("/opt/bridge/src\n")' \
 && printf '#!/bin/sh\nexec /opt/bridge/venv/bin/python -m bridge "$@"\n' > /usr/local/bin/bridge \
 && chmod 0755 /usr/local/bin/bridge
