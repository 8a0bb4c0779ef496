"""What the clients for Python share: where the gateway is, and what every case asks of it."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

URL = os.environ["CLAWPORT_URL"]
TOKEN = os.environ["CLAWPORT_TOKEN"]
PARALLEL = 20

ASK = [{"role": "user", "content": "hello there"}]
CALL = [{"role": "user", "content": 'call: get_weather {"city": "Oslo"}'}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def text_of(number):
    """A text of its own for each of many calls at once, of several tokens."""
    return " ".join(f"n{number}w{word}" for word in range(30))


def many(ask):
    """Asks 20 times at once; every answer is its own."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(ask, map(text_of, range(PARALLEL))))
    assert answers == [text_of(number) for number in range(PARALLEL)], answers


def prompt(ask):
    """What is asked after an abort is answered at once."""
    since = time.monotonic()
    ask()
    assert time.monotonic() - since < 2, "the session is free again at once"


def raises(kind, ask):
    """The error with which `ask` fails."""
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"not refused with {kind}")


def ok(case):
    print(f"{case}: ok", flush=True)
