#!/bin/sh
# Run a program of /opt/habla_ml as the unit habla-ml-daemon does: with its user, folder, variables and secrets. For example:
#   sudo sh /opt/habla_ml/deploy/systemd/as_daemon.sh habla-ml status
set -eu
# The variables of the unit; those of its files count before them.
export PATH=/opt/habla_ml/.venv/bin:/usr/local/bin:/usr/bin:/bin
export DAGSTER_HOME=/var/lib/habla_ml/dagster_home
export CODE_SERVER_HOST=127.0.0.1
export HABLA_PROFILE=production
for file in /etc/habla_ml/dagster.env /etc/habla_ml/pipeline.env; do
  # Lines are taken as systemd takes them: without the shell's meaning of $ and &, the blanks around a value, and its quotes.
  while read -r line || [ -n "$line" ]; do
    case "$line" in
      [A-Z]*=*) ;;
      *) continue ;;
    esac
    value=${line#*=}
    value=${value#"${value%%[![:space:]]*}"}
    case "$value" in
      \"*\") value=${value#\"} value=${value%\"} ;;
      \'*\') value=${value#\'} value=${value%\'} ;;
    esac
    export "${line%%=*}=$value"
  done < "$file"
done
cd /opt/habla_ml
umask 077
exec runuser -u habla -- "$@"
