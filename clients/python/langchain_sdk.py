"""LangChain's OpenAI classes, unmodified but for the base URL."""

import openai
import suite
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from typing import Literal


class Place(BaseModel):
    """A place that a text names."""

    city: Literal["Paris", "London"]
    capital: bool


@tool
def get_weather(city: str) -> str:
    """The weather in a city"""
    return f"sunny in {city}"


def llm(model=suite.MODEL, key=suite.API_KEY, **more):
    more.setdefault("max_tokens", 24)
    return ChatOpenAI(model=model, base_url=suite.BASE_URL, api_key=key, max_retries=0, timeout=120, **more)


def chat():
    r = llm().invoke("hi there")
    assert r.content and r.usage_metadata["output_tokens"] > 0, r


def stream():
    parts = list(llm(stream_usage=True).stream("hi there"))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    assert len(parts) > 1 and whole.content and whole.usage_metadata["output_tokens"] > 0, whole


def tools():
    question = HumanMessage("What is the weather in Paris?")
    answer = llm(suite.TOOLS_MODEL, max_tokens=256).bind_tools([get_weather], tool_choice="get_weather").invoke([question])
    assert isinstance(answer, AIMessage) and answer.tool_calls[0]["name"] == "get_weather", answer
    result = ToolMessage(get_weather.invoke({"city": "Paris"}), tool_call_id=answer.tool_calls[0]["id"])
    final = llm(suite.TOOLS_MODEL, max_tokens=256).invoke([question, answer, result])
    assert final.content and not final.tool_calls, final


def json_schema():
    place = llm(max_tokens=64).with_structured_output(Place, method="json_schema").invoke("Extract the city: I live in Paris.")
    assert isinstance(place, Place), place


def embeddings():
    # check_embedding_ctx_length sends token ids of OpenAI's own tokeniser, which LangChain would download.
    e = OpenAIEmbeddings(model=suite.EMBED_MODEL, base_url=suite.BASE_URL, api_key=suite.API_KEY, check_embedding_ctx_length=False)
    a, b = e.embed_documents(["one", "two"])
    assert len(a) == len(b) > 8, (len(a), len(b))


def bad_key():
    suite.raises(openai.AuthenticationError, 401, lambda: llm(key="slc_nobody_0000000000000000").invoke("hi"))


def unknown_model():
    suite.raises(openai.NotFoundError, 404, lambda: llm("no-such-model").invoke("hi"))


def denied():
    suite.raises(openai.PermissionDeniedError, 403,
                 lambda: llm(suite.DENIED_MODEL, default_headers=suite.DENIED_HEADERS).invoke("hi"))


suite.run([(f.__name__, f) for f in (chat, stream, tools, json_schema, embeddings, bad_key, unknown_model, denied)])
