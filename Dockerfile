# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements/bootstrap.txt requirements/run.txt requirements/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt \
 && uv venv /opt/brownout \
 && uv pip install --no-cache --python /opt/brownout/bin/python --require-hashes -r requirements/run.txt
COPY . .
RUN uv build --wheel --out-dir /wheels . \
 && uv build --wheel --out-dir /wheels sdk \
 && uv pip install --no-cache --python /opt/brownout/bin/python --no-deps /wheels/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Brownout" \
      org.opencontainers.image.description="Feature flags and safe mode for LLM-backed products: the control plane." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 brownout \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin brownout \
 && install -d -o brownout -g brownout -m 0700 /var/lib/brownout
COPY --from=build /opt/brownout /opt/brownout
ENV PATH=/opt/brownout/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BROWNOUT_HOST=0.0.0.0 \
    BROWNOUT_PORT=8321
USER 10001:10001
EXPOSE 8321
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8321/readyz', timeout=2)"]
ENTRYPOINT ["brownout"]
CMD ["serve"]
