"""What happens after a build: versions, canaries, promotion, monitoring."""
