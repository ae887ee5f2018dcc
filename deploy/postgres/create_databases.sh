#!/bin/sh
# Create a role and a database for Dagster and for the service; PostgreSQL's image runs this once, on an empty volume.
# For a server of your own: POSTGRES_USER=postgres PGHOST=… DAGSTER_PG_PASSWORD=… HABLA_DATABASE_PASSWORD=… sh create_databases.sh
set -eu
: "${DAGSTER_PG_PASSWORD:?set it to the password of the role dagster}"
: "${HABLA_DATABASE_PASSWORD:?set it to the password of the role habla}"
# \getenv keeps the passwords out of the list of processes.
psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv dagster_password DAGSTER_PG_PASSWORD
\getenv habla_password HABLA_DATABASE_PASSWORD
CREATE ROLE dagster LOGIN PASSWORD :'dagster_password';
CREATE ROLE habla LOGIN PASSWORD :'habla_password';
CREATE DATABASE dagster OWNER dagster ENCODING UTF8 TEMPLATE template0;
CREATE DATABASE habla OWNER habla ENCODING UTF8 TEMPLATE template0;
REVOKE ALL ON DATABASE dagster, habla FROM PUBLIC;
SQL
