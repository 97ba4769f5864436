# Images for clusters (docs/guides/cluster.md). Everything comes from Debian, npm and PyPI; torch for the CPU from PyTorch's own index.
#   docker build --target cpu -t diffmine:cpu .
#   docker build --target cuda -t diffmine:cuda .
ARG BASE=node:20-bookworm-slim

FROM ${BASE} AS sources
RUN apt-get update \
  && apt-get install -y --no-install-recommends cmake g++ ninja-build python3 python3-pip \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/diffmine
COPY . .

FROM sources AS build-cpu
ARG TORCH=2.13.0+cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --no-deps --target /opt/wheels --extra-index-url ${TORCH_INDEX} torch==${TORCH}
ENV LIBTORCH=/opt/wheels/torch
# CI: a unity build, which compiles everything once in less time
RUN CI=true npm run setup && npm prune --omit=dev --ignore-scripts

FROM sources AS build-cuda
ARG TORCH=2.13.0
ARG CUDA=13.0
# torch brings NVIDIA's libraries; nvcc and its headers are wheels, too
RUN pip install --no-cache-dir --target /opt/wheels torch==${TORCH} \
  nvidia-cuda-nvcc==${CUDA}.* nvidia-cuda-crt==${CUDA}.* nvidia-nvvm==${CUDA}.* \
  nvidia-cuda-runtime==${CUDA}.* nvidia-cuda-cccl==${CUDA}.* nvidia-nvtx==${CUDA}.*
# the wheel has libcudart.so.13 only, linkers look for libcudart.so
RUN cd /opt/wheels/nvidia/cu13/lib && ln -sf libcudart.so.13 libcudart.so && ln -sfn lib ../lib64
ENV LIBTORCH=/opt/wheels/torch CUDACXX=/opt/wheels/nvidia/cu13/bin/nvcc
RUN CI=true npm run setup -- --cuda && npm prune --omit=dev --ignore-scripts

FROM ${BASE} AS cpu
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build-cpu /opt/wheels/torch /opt/wheels/torch
COPY --from=build-cpu /opt/diffmine /opt/diffmine
RUN ln -s /opt/diffmine/bin/diffmine.js /usr/local/bin/diffmine
ENTRYPOINT ["diffmine"]

FROM ${BASE} AS cuda
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build-cuda /opt/wheels/torch /opt/wheels/torch
COPY --from=build-cuda /opt/wheels/nvidia /opt/wheels/nvidia
COPY --from=build-cuda /opt/diffmine /opt/diffmine
RUN ln -s /opt/diffmine/bin/diffmine.js /usr/local/bin/diffmine
# the driver's libraries are mounted by the container runtime
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["diffmine"]
