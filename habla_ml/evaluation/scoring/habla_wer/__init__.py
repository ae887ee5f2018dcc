"""The word error rate of this project as a metric module of Hugging Face `evaluate`."""
