"""`python -m habla_ml.transcription <parent's process id>`: the process in which an engine decodes."""

import sys

from habla_ml.transcription.serve import serve

serve(int(sys.argv[1]))
