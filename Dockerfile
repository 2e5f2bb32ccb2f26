# The command line in an image, for a CPU or for an NVIDIA GPU:
#   docker build -t jaxstyle .
#   docker build -t jaxstyle:cuda --build-arg EXTRA=cuda .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" jaxstyle stylize photo.jpg painting.jpg -o out.png
#   docker run --rm --user "$(id -u):$(id -g)" --gpus all -v "$PWD:/work" jaxstyle:cuda demo
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY jaxstyle jaxstyle
COPY weights weights
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
# Empty, or cuda: JAX's wheels carry the CUDA libraries, the host the driver.
ARG EXTRA=""
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(ls /wheels/*.whl)[serve,heif,video${EXTRA:+,$EXTRA}]"
# Compiled programs: the user of the host has no home here.
ENV JAXSTYLE_CACHE=/tmp/jaxstyle
WORKDIR /work
ENTRYPOINT ["jaxstyle"]
CMD ["--help"]
