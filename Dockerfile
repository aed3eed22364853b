# docker build -t mola-bench .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/project" mola-bench mola init shop
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/shop:/project" mola-bench snakemake --cores all all
FROM python:3.13-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir hatchling==1.33.0 trove-classifiers==2026.9.21.13 \
    && python -m hatchling build -t wheel -d /wheel

FROM python:3.13-slim-bookworm
# USER: a name for whichever number --user gives, as Snakemake asks for one
ENV PYTHONUNBUFFERED=1 HOME=/tmp USER=mola
COPY requirements.lock /tmp/requirements.lock
RUN pip install --no-cache-dir -r /tmp/requirements.lock
COPY --from=wheel /wheel /tmp/wheel
RUN pip install --no-cache-dir --no-deps /tmp/wheel/*.whl && useradd --uid 1000 --create-home mola
USER 1000
WORKDIR /project
CMD ["mola", "--help"]
