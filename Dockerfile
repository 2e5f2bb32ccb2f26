# The command line in an image, for a CPU or for an NVIDIA GPU:
#   docker build -t jaxstyle .
#   docker build -t jaxstyle:cuda --build-arg EXTRA=cuda .
#   docker run --rm -v "$PWD:/work" jaxstyle stylize photo.jpg painting.jpg -o out.png
#   docker run --rm --gpus all -v "$PWD:/work" jaxstyle:cuda demo
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY jaxstyle jaxstyle
COPY weights weights
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
# Empty, or cuda: JAX's wheels carry the CUDA libraries, the host the driver.
ARG EXTRA=""
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[serve,heif,video${EXTRA:+,$EXTRA}]" && rm -r /wheels
RUN useradd --create-home jaxstyle && mkdir /work && chown jaxstyle /work
USER jaxstyle
WORKDIR /work
ENTRYPOINT ["jaxstyle"]
CMD ["--help"]
