"""Commands: thin, over `client/`, `node/` and `dev/`.

Exists so that people and scripts need no SDK. It prints and exits; it decides nothing.
stdout is data, stderr is talk; a command imports what it needs when it runs, so that the CLI starts fast.
"""
