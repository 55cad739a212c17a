"""The Linux that runs here, by what it tells everybody: /proc (proc(5)), without its memory.

psutil covers much of /proc, and is what the tests compare with, but not what this is made of: it loses what records
are of. It has neither flags, terminals' numbers, signals nor wait channels; names are made longer by the arguments;
vectors that do not end as it expects are taken apart at blanks, environments are a dict; open_files() leaves out what
is no regular file; swap space is one sum, the time of boot of whole seconds. And a list by it, of a third of what the
two files stat and status tell, takes about twice as long as one by these.
"""
