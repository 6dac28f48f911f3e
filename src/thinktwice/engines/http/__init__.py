"""Models over HTTP: any OpenAI-compatible server (vLLM, llama.cpp, OpenAI), asked once for each thing.

`Client` answers conversations and texts for teachers, critics and labellers; `HttpEngine` decodes token ids under the
same controls as a local engine, on servers that take and return them.
"""

from thinktwice.engines.http.client import Client, Listener
from thinktwice.engines.http.endpoint import (
    Endpoint,
    Failure,
    Message,
    Reply,
    Request,
    Result,
    Spending,
    ToolCall,
    Usage,
)
from thinktwice.engines.http.engine import HttpEngine
from thinktwice.engines.http.retry import Pace

__all__ = [
    "Client",
    "Endpoint",
    "Failure",
    "HttpEngine",
    "Listener",
    "Message",
    "Pace",
    "Reply",
    "Request",
    "Result",
    "Spending",
    "ToolCall",
    "Usage",
]
