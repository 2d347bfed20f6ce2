"""Rules about fields, platform and backend, and the syntax of config.pbtxt."""
