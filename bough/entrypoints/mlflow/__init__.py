"""The REST surface that MLflow's clients speak: every request becomes calls of operations, every answer and every error
takes the shape that such a client expects. It decides nothing, and needs no package of MLflow.

`MLFLOW_TRACKING_URI` is `http://HOST:PORT` for the project `default`, or `http://HOST:PORT/mlflow/PROJECT` with
`/ENVIRONMENT` after it for a branch; `MLFLOW_TRACKING_TOKEN` is a token of Bough.
"""
