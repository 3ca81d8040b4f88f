from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def index() -> dict[str, str]:
    return {"see": "/predict?q=…"}


@app.get("/predict")
def predict(q: str) -> dict[str, str]:
    return {"prediction": "dummy", "q": q}
