"""The command line `habla-ml`: one module for each group of commands."""
