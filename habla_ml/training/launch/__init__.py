"""Where a training runs: in one process here, in several on this host, or on a cluster (`training.launch`).

The training program `python -m habla_ml.training …` is also the program of each process of a larger training. Whoever
starts it sets torch.distributed's variables: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
The process of rank 0 leads: it plans, reports, writes checkpoints and publishes. The others compute and exit with 0
(`habla_ml.training.follow`). Settings, `--out`, a lake in a folder and the base model have the same path in all of them.
A launcher ends all processes when one fails, and returns the exit code of `habla_ml.training.exit_codes`.
"""
