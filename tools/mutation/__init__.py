"""Mutation testing of the code that decides: change one expression, run the tests of its lines, and expect a failure.

The changes are those of mutmut. mutmut itself leaves out constants, properties and every function with a decorator, and
draws no sample. cosmic-ray starts pytest again for each change. The imports alone take ten seconds of CPU time then.
Here the test modules are imported and run once under coverage. Then a process is forked for each change, and only the
code of one function is replaced.
"""
