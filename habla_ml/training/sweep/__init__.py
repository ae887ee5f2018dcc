"""A search over recipe keys: many trainings of which none is a model version, compared on the validation split only.

`space` reads what to search, `trial` trains and scores one recipe, `study` chooses the recipes and resumes, `results`
shows and writes what was found. The test split is never read: a recipe chosen on it would make every WER report too good.
"""
