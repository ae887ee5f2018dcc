"""`python -m habla_ml.audio <parent's process id>`: the process in which foreign audio is decoded."""

import sys

from habla_ml.audio.ffmpeg import serve

serve(int(sys.argv[1]))
