"""A campaign of faults: each is done to a run, and what comes of it is compared.

harms.py      what may befall a folder, a process or its data
subjects.py   a tiny run of every verb that writes
trials.py     one fault after another: tried, as promised, lost
"""
