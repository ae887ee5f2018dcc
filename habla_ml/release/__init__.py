"""Brings a judged model to those who use it: archives, manifests, channels, and the way back.

What belongs here: the decision whether a version may leave, and everything that is laid on the CDN's origin. How a
model was measured or converted does not.
"""
