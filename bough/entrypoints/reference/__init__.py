"""What is derived from the operations and kept in the repository, so that a change of the contract shows in review.

python -m bough.entrypoints.reference --write     # makes all of it anew
python -m bough.entrypoints.reference --check     # says what is out of date, exit 1
"""
