# medtea on an NVIDIA GPU:  docker build -f docker/gpu.Dockerfile -t medtea:gpu .
#                           docker run --gpus all -v ...:/data:ro -v ...:/runs medtea:gpu run ...
#
# PyPI's torch for Linux on x86-64 is the CUDA build and brings its CUDA libraries along as packages: the image needs no
# CUDA of its own, the host only its driver and the NVIDIA container toolkit.
FROM python:3.11-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# the dependencies before the code, so that a changed line of code does not install torch anew
WORKDIR /opt/medtea
COPY constraints.txt ./
RUN pip install "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml setup.py MANIFEST.in CHANGELOG.md LICENSE README.md ./
COPY configs configs
COPY pipelines pipelines
COPY medtea medtea
RUN pip install -c constraints.txt .

# a user without rights; /data is mounted read-only, /runs is the only place that is written to
RUN useradd --create-home --uid 10001 medtea && mkdir /data /runs && chown medtea:medtea /runs
USER medtea
WORKDIR /runs
ENV MEDTEA_DATA=/data
VOLUME ["/runs"]
ENTRYPOINT ["medtea"]
CMD ["--help"]
