"""The official OpenAI SDK for Python, unmodified but for the base URL."""

import json

import openai
import suite

client = openai.OpenAI(base_url=suite.BASE_URL, api_key=suite.API_KEY, max_retries=0, timeout=120)
HELLO = [{"role": "user", "content": "hi there"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "London"]}, "capital": {"type": "boolean"}},
    "required": ["city", "capital"],
    "additionalProperties": False,
}


def chat():
    r = client.chat.completions.create(model=suite.MODEL, messages=HELLO, max_tokens=24)
    assert r.object == "chat.completion" and r.id, r
    assert r.choices[0].message.role == "assistant" and r.choices[0].message.content, r
    assert r.choices[0].finish_reason in ("stop", "length"), r
    assert r.usage.prompt_tokens > 0 and r.usage.completion_tokens > 0, r
    assert r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens, r


def stream():
    text, finish, events = "", None, 0
    for chunk in client.chat.completions.create(model=suite.MODEL, messages=HELLO, max_tokens=24, stream=True):
        events += 1
        assert chunk.choices, f"a usage chunk that nobody asked for: {chunk}"
        text += chunk.choices[0].delta.content or ""
        finish = chunk.choices[0].finish_reason or finish
        assert chunk.usage is None, chunk
    assert text and events > 1 and finish in ("stop", "length"), (text, events, finish)


def stream_usage():
    usage = []
    for chunk in client.chat.completions.create(
        model=suite.MODEL, messages=HELLO, max_tokens=24, stream=True, stream_options={"include_usage": True}
    ):
        if chunk.usage:
            usage.append(chunk.usage)
    assert len(usage) == 1 and usage[0].completion_tokens > 0, usage


def tools():
    r = client.chat.completions.create(
        model=suite.TOOLS_MODEL, messages=[{"role": "user", "content": "What is the weather in Paris?"}], tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )
    call = r.choices[0].message.tool_calls[0]
    assert call.id and call.function.name == "get_weather", r
    assert "city" in json.loads(call.function.arguments), r


def tools_stream():
    name, arguments = "", ""
    for chunk in client.chat.completions.create(
        model=suite.TOOLS_MODEL, messages=[{"role": "user", "content": "What is the weather in Paris?"}], tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "get_weather"}}, stream=True,
    ):
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert name == "get_weather" and "city" in json.loads(arguments), (name, arguments)


def json_schema():
    r = client.chat.completions.create(
        model=suite.MODEL, messages=[{"role": "user", "content": "Extract the city: I live in Paris."}], max_tokens=64,
        response_format={"type": "json_schema", "json_schema": {"name": "place", "strict": True, "schema": SCHEMA}},
    )
    place = json.loads(r.choices[0].message.content)
    assert place["city"] in ("Paris", "London") and isinstance(place["capital"], bool), place


def embeddings():
    # The SDK asks for base64 unless told otherwise, so both encodings are worth a call.
    packed = client.embeddings.create(model=suite.EMBED_MODEL, input=["one", "two"])
    plain = client.embeddings.create(model=suite.EMBED_MODEL, input=["one", "two"], encoding_format="float")
    assert [d.index for d in packed.data] == [0, 1], packed
    size = len(packed.data[0].embedding)
    assert size > 8 and all(len(d.embedding) == size for d in packed.data + plain.data), size
    assert all(abs(a - b) < 1e-3 for a, b in zip(packed.data[0].embedding, plain.data[0].embedding))


def models():
    ids = [m.id for m in client.models.list()]
    assert suite.MODEL in ids and suite.EMBED_MODEL in ids, ids


def model():
    m = client.models.retrieve(suite.MODEL)
    assert m.id == suite.MODEL and m.object == "model", m


def bad_key():
    other = client.with_options(api_key="slc_nobody_0000000000000000")
    suite.raises(openai.AuthenticationError, 401,
                 lambda: other.chat.completions.create(model=suite.MODEL, messages=HELLO, max_tokens=4))
    suite.raises(openai.AuthenticationError, 401, lambda: other.models.list())


def unknown_model():
    err = suite.raises(openai.NotFoundError, 404,
                       lambda: client.chat.completions.create(model="no-such-model", messages=HELLO, max_tokens=4))
    assert err.code == "model_not_found", err.body


def unknown_model_stream():
    suite.raises(openai.NotFoundError, 404, lambda: list(
        client.chat.completions.create(model="no-such-model", messages=HELLO, max_tokens=4, stream=True)))


def bad_body():
    for body in (
        b'{"model":"%s","messages":[],"model":"other"}' % suite.MODEL.encode(),  # a duplicate key
        b'{"model":"%s","messages":[],"mod\\u0065l":"other"}' % suite.MODEL.encode(),  # the same, spelled with an escape
        b'{"model":"%s","messages":[{"role":"user","content":"\xff"}]}' % suite.MODEL.encode(),  # not UTF-8
        b'{"model":' + b'[' * 70 + b']' * 70 + b'}',  # too deep
        b'{"model":',  # cut
    ):
        err = suite.raises(openai.BadRequestError, 400, lambda: client.post(
            "/chat/completions", content=body, cast_to=object, options={"headers": {"content-type": "application/json"}}))
        assert err.type == "invalid_request_error", err.body


def denied():
    err = suite.raises(openai.PermissionDeniedError, 403, lambda: client.chat.completions.create(
        model=suite.DENIED_MODEL, messages=HELLO, max_tokens=4, extra_headers=suite.DENIED_HEADERS))
    assert err.code == "policy_denied", err.body


def limited():
    patient = client.with_options(max_retries=3)
    for _ in range(40):  # more than the limit lets through at once
        r = patient.chat.completions.with_raw_response.create(model=suite.LIMITED_MODEL, messages=HELLO, max_tokens=4)
        assert r.parse().choices, r
        assert int(r.headers["x-ratelimit-limit-requests"]) == 10, r.headers
        if r.retries_taken:
            assert r.retries_taken == 1, r.retries_taken  # it came back when it was told to, and not before
            return
    assert False, "never limited"


suite.run([(f.__name__, f) for f in (
    chat, stream, stream_usage, tools, tools_stream, json_schema, embeddings, models, model, bad_key, unknown_model,
    unknown_model_stream, bad_body, denied, limited,
)])
