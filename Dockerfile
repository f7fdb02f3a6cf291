# planet_tf on a machine with an NVIDIA GPU, its driver and the NVIDIA Container Toolkit:
#
#     docker build -t planet_tf .
#     docker run --gpus all -v "$PWD/runs:/planet_tf/runs" planet_tf train --gin_file=cheetah.gin
#
# TensorFlow's CUDA libraries come from PyPI. EGL renders on the GPU, else in software.
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends libegl1 libgl1-mesa-dri \
    && rm -rf /var/lib/apt/lists/*

# `graphics` makes the driver's EGL available, which the toolkit's default does not.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics

WORKDIR /planet_tf
COPY setup.cfg pyproject.toml requirements-nodeps.txt README.md LICENSE ./
COPY planet_tf planet_tf
COPY gin gin
RUN pip install -e ".[gpu,view]" \
    && pip install --no-deps -r requirements-nodeps.txt

ENTRYPOINT ["planet-tf"]
CMD ["doctor"]
