#!/bin/sh
# Run a program of /opt/habla_ml as the unit habla-ml-daemon does: with its user, folder, variables and secrets. For example:
#   sudo sh /opt/habla_ml/deploy/systemd/as_daemon.sh habla-ml status
set -eu
for file in /etc/habla_ml/dagster.env /etc/habla_ml/pipeline.env; do
  # Lines are taken as systemd takes them, without the shell's meaning of $, & or spaces.
  while IFS= read -r line || [ -n "$line" ]; do
    case "$line" in
      [A-Z]*=*) export "${line?}" ;;
    esac
  done < "$file"
done
export PATH=/opt/habla_ml/.venv/bin:/usr/local/bin:/usr/bin:/bin
export DAGSTER_HOME=/var/lib/habla_ml/dagster_home
export CODE_SERVER_HOST=127.0.0.1
export HABLA_PROFILE=production
cd /opt/habla_ml
umask 077
exec runuser -u habla -- "$@"
