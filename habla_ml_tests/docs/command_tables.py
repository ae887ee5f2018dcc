"""How each command of the documentation is tested, or why it is not."""

from typing import Final

EXIT_CODES: Final = {
    "habla-ml init": 0,
    "habla-ml init my-school": 0,
    "habla-ml doctor": 0,
    "habla-ml status": 1,  # no daemon runs, which needs a person
    "habla-ml status --metrics /var/lib/prometheus/node-exporter/habla_ml.prom": 0,
    "habla-ml status --metrics FILE": 0,
    "habla-ml import /media/archive/recordings": 0,
    "habla-ml init mi-escuela": 0,
    "habla-ml review": 0,
    "habla-ml review --choose": 0,
    "habla-ml review --choose --language es": 0,
    "habla-ml review --write cola --person ana": 0,
    "habla-ml rollback": 0,
    "habla-ml review --export queue.m3u": 0,
    "habla-ml review --write cola --person ana --person eva": 0,
    "habla-ml conventions check configs/conventions/orthographic-v5.yaml": 0,
    "habla-ml conventions diff configs/conventions/orthographic-v4.yaml configs/conventions/orthographic-v5.yaml": 0,
    "habla-ml export-dataset out": 0,
    "habla-ml export-dataset out --format arrays": 0,
    "habla-ml export-dataset out --format folder": 0,
    "habla-ml export-dataset out --format parquet": 0,
    "habla-ml export-dataset out --format nemo": 0,
    "habla-ml advise": 0,
    "habla-ml releases": 0,
    "habla-ml releases --verify": 0,
    "habla-ml rollback --seen 7": 0,
    "habla-ml rollback --seen N": 0,
    "habla-ml rollback --seen NUMBER": 0,
    "habla-ml rollback --to v1": 0,
    "habla-ml promote beta --percent 10": 0,
    "habla-ml rollout 50": 0,
    "habla-ml rollout 100 --critical": 0,
    "habla-ml renew": 0,
    "habla-ml renew --unverified": 0,
    "habla-ml keys list": 0,
    "habla-ml keys renew": 0,
    "habla-ml keys rotate": 0,
    "habla-ml keys rotate --root": 0,
    "habla-ml lineage 11111_20260216_090000": 0,
    "habla-ml lineage 2026.11.21-v2": 0,
    "habla-ml lineage VERSION": 0,
    "habla-ml lineage v2 --segments --json": 0,
    "habla-ml erase --contributor c-017": 0,
    "habla-ml erase --contributor c-017 --dry-run": 0,
    "habla-ml erase --contributor PSEUDONYM --dry-run": 0,
    "habla-ml backup /mnt/backup/habla --keep 30": 0,
    "habla-ml backup TARGET": 0,
    "habla-ml backup list /mnt/backup/habla": 0,
    "habla-ml restore /mnt/backup/habla --to /srv/new_lake": 0,
    "habla-ml restore /mnt/backup/habla --to /tmp/drill": 0,
    "habla-ml restore TARGET --to SPARE_FOLDER": 0,
    "habla-ml fsck": 0,
    "habla-ml fsck --deep": 0,
    "habla-ml fsck --deep --repair-from /mnt/backup/habla": 0,
    "habla-ml fsck --deep --repair-from TARGET": 0,
    "habla-ml gc": 0,
    "habla-ml gc --delete": 0,
    "habla-ml account invite --right correct": 0,
    "habla-ml account list": 0,
    "habla-ml device enrol 'my laptop'": 0,
    "habla-ml device enrol 'tablet of class 3'": 0,
    "habla-ml device list": 0,
}
"""Command → its exit code in the deployment of `documented_deployment`."""

STAND_INS: Final = {
    "/media/archive/recordings": "habla",
    "/mnt/backup/habla": "backup",
    "TARGET": "backup",
    "/srv/new_lake": "new_lake",
    "/tmp/drill": "new_lake",  # noqa: S108 (a word of the documentation)
    "SPARE_FOLDER": "new_lake",
    "/var/lib/prometheus/node-exporter/habla_ml.prom": "habla_ml.prom",
    "FILE": "habla_ml.prom",
    "11111_20260216_090000": "clase10_20260216_100000",
    "PSEUDONYM": "c-017",
    "VERSION": "v2",
    "7": "2",
    "N": "2",
    "NUMBER": "2",
}
"""Word of the documentation → word of the deployment."""

RUN_BY_OTHER_TESTS: Final = {
    "habla-ml compare base v2 v2@transformers v2,beam_size=1 v2,quantisation=float32": "evaluation/test_run.py",
    "habla-ml compare base v2@whisper.cpp v2@whisper.cpp,quantisation=q5_1": "evaluation/test_run.py",
    "habla-ml compare v1 v2 --measure-speed": "evaluation/comparison/test_speed_measurement.py",
    "habla-ml compare v1 v2 --on '~/clips'": "evaluation/test_run.py",
    "habla-ml compare v2 v2,profile=phone": "evaluation/test_run.py",
    "habla-ml compare v2,profile=phone v2@coreml,profile=phone": "evaluation/test_run.py",
    "habla-ml complete-base-model '~/models/whisper-small-es' '~/models/whisper-small-es-complete'": (
        "training/test_complete_base_model.py"
    ),
    "habla-ml dev --ui-port 3001": "test_processes_together.py",
    "habla-ml device revoke DEVICE": "inbox/test_devices.py",
    "habla-ml erase --deleted-on-hub our-school/classroom-speech": "cli/test_hub_dataset.py",
    "habla-ml erase --finish": "cli/test_hub_dataset.py",
    "habla-ml export checkpoint habla-coreml.zip --to coreml --quantisation palettised-6bit": "export/test_export_command.py",
    "habla-ml export-dataset --push": "cli/test_hub_dataset.py",
    "habla-ml export-dataset --push --snapshot SNAPSHOT": "cli/test_hub_dataset.py",
    "habla-ml import /media/archive/recordings --on ray": "defs/test_ray_bulk.py",
    "habla-ml keys revoke OLD": "cli/test_keys.py",
    "habla-ml keys revoke STOLEN": "cli/test_keys.py",
    "habla-ml label-studio pull": "annotation/sources/label_studio/test_deployment.py",
    "habla-ml label-studio push": "annotation/sources/label_studio/test_deployment.py",
    "habla-ml label-studio reconcile": "annotation/sources/label_studio/test_deployment.py",
    "habla-ml label-studio up": "annotation/sources/label_studio/test_real_server.py",
    "habla-ml repeat v2 --percent 25 --percent 50": "defs/test_replicates.py",
    "habla-ml repeat v2 --seeds 2": "defs/test_replicates.py",
    "habla-ml repeat v3 --percent 25 --percent 50": "defs/test_replicates.py",
    "habla-ml serve": "service/test_server.py",
    "habla-ml sweep": "training/sweep/test_sweep.py",
    "habla-ml sweep configs/recipes/whisper-small-full.yaml --space configs/search_spaces/learning_rate.yaml": (
        "training/sweep/test_sweep.py"
    ),
    "habla-ml train --estimate": "training/test_several_processes.py",
    "habla-ml train --version v1": "training/test_process.py",
    "habla-ml transcribe clase.m4a --format srt": "cli/test_transcribe.py",
    "habla-ml transcribe lesson.m4a --format srt": "cli/test_transcribe.py",
    "habla-ml train --version v3": "training/test_process.py",
    "habla-ml train bundle v3 --to '~/v3-bundle'": "training/bundle/test_bundle.py",
    "habla-ml train import '~/v3-result'": "training/bundle/test_bundle.py",
    "habla-ml transcribe lesson.m4a --model base --speaker Ana": "cli/test_transcribe.py",
    "habla-ml transcribe lesson.m4a interview.wav --format srt --output subtitles": "cli/test_transcribe.py",
    "habla-ml update-model https://models.example.org /srv/habla/models --keys keys.json": "cli/test_update_model.py",
    "habla-ml update-model https://models.example.org models --keys keys.json --platform ggml": "cli/test_update_model.py",
}
"""Command → the file below `habla_ml_tests` that runs it, or the function behind it, with what it needs."""

_NAMED_ONLY = "named in a sentence without what it needs"
NOT_RUN: Final = {
    "habla-ml backup s3://school-backup/habla --keep 30": "needs a bucket; backup/ tests the same code with an S3 server",
    "habla-ml conventions apply": "scores all versions again; a reader's deployment has their models",
    "habla-ml compare v2 deepgram,model=nova-3 --on 2026-02-16": "needs an account of a paid service",
    "habla-ml complete-base-model someone/whisper-small-es '~/models/whisper-small-es' "
    "--revision 973afd24965f72e36ca33b3055d56a652f456b4d": "needs the Hugging Face Hub",
    "habla-ml demo": "takes nine minutes; demo/ tests its parts",
    "habla-ml dev": "does not end; defs/test_daemon.py runs the daemon, and service/test_server.py the service",
    "habla-ml dev --ui-port 3001": "the same",
    "habla-ml erase": _NAMED_ONLY,
    "habla-ml erase --dry-run": _NAMED_ONLY,
    "habla-ml export-dataset": _NAMED_ONLY,
    "habla-ml install-whisperx": "downloads 8 GB",
    "habla-ml override v3 --by 'Ana Ruiz' --reason 'The trip to Cádiz is tomorrow; the silent clips are from another school.'": (
        "needs a refused version; defs/test_ray_whole_loop.py overrides one"
    ),
    "habla-ml restore /mnt/backup/habla --backup 2026-11-29T03-00-00Z --to s3://bucket/lake": "needs a bucket",
    "habla-ml train": _NAMED_ONLY,
}
"""Command → why no test runs it."""

OTHER_PROGRAMS: Final = {
    "make ": "test_docs.py finds the target; CI runs lint, audit and test",
    r"(apt|pip) install (python3-venv|torch|.*whl)|\. habla-env|cd (my-school|mi-escuela)": (
        "installs several GB; security/test_wheel.py builds the wheel and runs its commands"
    ),
    "cp configs/conventions": "the deployment of the tests has the copy",
    "(cp|chmod|git clone|cd /opt|python3 -m venv|pip install .*(deploy|editable)|useradd|install|systemctl|-u postgres) ?": (
        "needs root; deploy/ checks the units and scripts with systemd-analyze and a real PostgreSQL"
    ),
    "docker ": "needs Docker; deploy/ checks the files with hadolint and the schema of Compose",
    "(helm|kubectl) ": "needs a cluster; deploy/ checks the files with kubernetes-validate",
    "(cd '~/habla_ml'|echo |mail |sqlite3 )": "a crontab of the reader",
    "createdb ": "testing/postgres_server.py makes the same database",
    "export ": "variables of the shell",
    "pip install 'habla-ml": "another test compares the extras with pyproject.toml",
    "pip install --no-deps habla_ml-": "security/test_wheel.py builds and installs the wheel",
    "(git log|umask|python -m build)": "security/test_wheel.py builds the wheel twice",
    "pytest ": "CI runs the tests",
    r"python -m tools\.": "tools/ tests both",
    "python benchmarks/bench_ablation": "takes a day",
    "dagster code-server start": "deploy/ starts such a server",
    "sh /opt/habla_ml/deploy/systemd/as_daemon.sh": "deploy/test_systemd.py runs the script",
    "ray start": "testing/ray_cluster.py starts a cluster so",
    "(rsync|ssh) ": "needs a second machine",
    "(curl|python3 -c)": "test_upload_api.py runs all blocks of the page against the service",
    "whisper-cli ": "a program of whisper.cpp; export/whisper_cpp runs the model by its library",
}
"""Regular expression at the start of a command of another program → where it runs, or why not."""
