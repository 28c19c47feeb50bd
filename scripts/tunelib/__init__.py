"""What `scripts/tune` is made of. Standard library only, Python 3.9 and later.

It reads files, and writes sysctls, two files under /etc and its own state file. It never runs
another program: asking `iptables` or `conntrack` a question can load the very module that would
then track a million connections.

Imports run one way, downwards:

    cli                        arguments, text or JSON, exit codes
    change  persist  revert    the three that write; state keeps what was there before
    checks                     the table of checks, in the order they are shown
    open_files  ports  listening  sockets  memory      the checks themselves
    check                      one line of the report; a sysctl judged against a goal
    need                       what N connections need: arithmetic, no host
    proc                       what single files of /proc and /sys say
    host                       the files, perhaps under a root folder of a test's own
"""
