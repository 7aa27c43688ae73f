"""The command line: one program, one file per command.

main.py        the table of commands, and how errors leave
options.py     flags that are environment variables too
terminal.py    text, JSON and progress bars
"""
