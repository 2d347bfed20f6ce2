"""Running Tritons: the embedded runtime, the server handle, its client, verification and load measurement."""
