"""Removal of what no pointer and no running process needs: temporary folders, old copies, superseded objects."""
