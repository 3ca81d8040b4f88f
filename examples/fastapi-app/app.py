"""An ordinary FastAPI app. Nothing in it knows of Bough."""

from collections.abc import AsyncIterator

from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI(title="Example")


@app.get("/")
async def home() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/predict")
async def predict(q: str) -> dict[str, str]:
    return {"prediction": "dummy", "q": q}


@app.get("/count")
async def count(to: int = 5) -> StreamingResponse:
    """Lines that are sent one by one, as they are made."""

    async def lines() -> AsyncIterator[str]:
        for number in range(1, to + 1):
            yield f"{number}\n"

    return StreamingResponse(lines(), media_type="text/plain")


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """Sends back what it gets, text as text and bytes as bytes."""
    await socket.accept()
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])
