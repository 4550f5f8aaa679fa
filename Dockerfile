# CPU:  docker build -t xcodec .
# CUDA: docker build -t xcodec:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
#       docker run --gpus all -v "$PWD:/data" xcodec:cuda encode /data/speech.flac /data/speech.xc --device cuda
FROM python:3.12-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=lm

# The engine compiles its kernels for the processor it runs on.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/xcodec
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY xcodec xcodec
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple ".[$EXTRAS]"

RUN useradd --create-home xcodec
USER xcodec
WORKDIR /data
ENTRYPOINT ["xcodec"]
CMD ["--help"]
