"""Private repositories of the Hugging Face Hub, or of another hub that speaks its protocol."""
