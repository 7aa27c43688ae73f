"""`smartrt bench ACTION`: one file an action, each with `NAME`, `HELP`, `configure` and `run`."""
