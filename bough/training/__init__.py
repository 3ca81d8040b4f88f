"""Training: what a job run leaves behind becomes a version of a model, without anybody's hands on it.

Nouns: candidate (the version that is promoted), teacher (a version that a smaller model learns from), student.
Promises: a run that succeeded and names a model makes one signed version of it, however often the server is killed
meanwhile; the version says which run, code, data and parameters made it, what that measured, and what it cost; why none
was made is in the run's timeline; a student is registered only after it was measured beside its teacher.
Never: runs a job; decides what is good enough to serve (that is for gates and promotions).
"""
