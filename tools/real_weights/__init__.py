"""Run the whole loop on OpenAI's real whisper-base, whose weights the package registry has."""
