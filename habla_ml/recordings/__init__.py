"""Turn Habla's folders into segments in the lake: scan, read hints, decode, publish a day."""
