# medtea on a CPU:  docker build -f docker/cpu.Dockerfile -t medtea:cpu .
#
# PyPI's torch for Linux on x86-64 is the CUDA build (several GB). For the CPU build name PyTorch's own index of CPU
# wheels, the one that its "Get started" page shows for "CPU":  --build-arg TORCH_INDEX=<that address>
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# the dependencies before the code, so that a changed line of code does not install torch anew
WORKDIR /opt/medtea
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
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
