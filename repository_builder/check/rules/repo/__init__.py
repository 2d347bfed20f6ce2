"""Rules about the folders and files of a repository (REPO, VER, FILE)."""
