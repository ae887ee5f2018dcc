"""Speech recognition that is bought elsewhere, through each service's own client library.

What belongs here: one module for each service, what a call costs and how much was spent, how often it is asked again.
Nothing here runs unless `evaluation.hosted` names the service: the voices of people leave the house.
"""
