"""Decides which recordings deserve a person's next minutes, and says why.

What belongs here: gathering what nobody has judged yet, hearing it with the released model, ranking and the choice
under a budget. The queue as it is kept is the annotation room's; where people work on it is not decided here.
"""
