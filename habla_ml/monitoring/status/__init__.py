"""The state of the loop at a glance, for the terminal and for the asset `loop_status`.

Each line is read on its own, so that one broken part costs one line. What only Dagster knows is passed in as
`OrchestratorFacts`. Lines have no transcript, no name of a person and no text of a run's error.
"""
