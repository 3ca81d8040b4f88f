"""Jobs: programs that run to their end, on capacity that may be taken away meanwhile.

Nouns: job, job run, attempt, group (job runs that belong together), slot (of a schedule), notice, progress.
Promises: a job run is in the end what its last state says, whoever is killed meanwhile, and says why in a sentence. No
two runs share a device or more of a machine than it has; what a run has held is given back however it ends. An attempt
that was interrupted goes on where its checkpoint was; one that failed is tried again as often as its cause allows. A
program is given a token that reports for its own run and can do nothing else.
Never: runs a program in the server; decides what capacity costs or which to take; deletes what a run has reported.
"""
