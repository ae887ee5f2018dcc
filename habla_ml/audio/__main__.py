"""`python -m habla_ml.audio PARENT_PROCESS_ID`: the process that decodes other formats than WAV."""

import sys

from habla_ml.audio.ffmpeg import serve

serve(int(sys.argv[1]))
