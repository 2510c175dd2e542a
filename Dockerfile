# The one binary in a small image. scripts/compose-check.sh shows how the context is laid out:
# bin/grapnel (built before, by `cargo build --release`).
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates git openssh-client \
 && rm -rf /var/lib/apt/lists/*
COPY bin/grapnel /usr/local/bin/grapnel
VOLUME /var/lib/grapnel
ENTRYPOINT ["/usr/local/bin/grapnel"]
CMD ["up"]
