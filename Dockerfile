# One image: the bot. The environment is made by the Makefile's own install target.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 phasegate \
    && install --directory --owner=phasegate --group=phasegate /data

WORKDIR /srv
COPY pyproject.toml README.md Makefile requirements.txt ./
COPY bot bot
COPY handlers handlers
COPY prompts prompts
COPY localhub localhub
COPY localmodel localmodel
RUN make install VENV=/opt/phasegate REQUIREMENTS=requirements.txt EDITABLE=

ENV PATH=/opt/phasegate/bin:$PATH DATA_DIR=/data LOG_FORMAT=json
USER phasegate
VOLUME /data
EXPOSE 8000
CMD ["phasegate", "serve", "--host", "0.0.0.0", "--port", "8000"]
