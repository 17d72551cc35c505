"""Tools and messages in the forms of three APIs. Text and tools only; what is in another form passes unchanged.

Messages are written as OpenAI's chat API takes them (`role`, `content`, `tool_calls`, `tool_call_id`), tools in the form
of any of the three, so one transcript continues with another provider.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from brownout.model.values import ToolPolicy
from brownout.runner.calls import Turn

Form = Literal["chat", "responses", "anthropic"]
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


def with_tools(made: Mapping[str, Any], tools: Sequence[Any], policy: ToolPolicy | None, form: Form) -> dict[str, Any]:
    """Returns a request's arguments with the tools that the policy allows; a choice of another tool is dropped."""
    allowed = offered(tools, policy, form)
    choice = made.get("tool_choice")
    chosen = (choice.get("function") or choice).get("name") if isinstance(choice, Mapping) else None
    dropped = {"tool_choice"} if chosen and policy is not None and not policy.allows(chosen) else set()
    if not allowed:
        dropped = {"tool_choice", "parallel_tool_calls"}
    kept = {name: value for name, value in made.items() if name not in dropped}
    return {**kept, "tools": allowed} if allowed else kept


def offered(tools: Sequence[Any], policy: ToolPolicy | None, form: Form) -> list[Any]:
    """Returns the tools that the policy allows, in the form of one API."""
    read = [(tool, *_tool(tool)) for tool in tools]
    return [
        tool if of in {form, None} else _written(said, form)
        for tool, of, said in read
        if policy is None or policy.allows(said["name"])
    ]


def _tool(tool: Any) -> tuple[Form | None, dict[str, Any]]:
    """A tool's form, None for one that only its provider knows, and what it says."""
    if not isinstance(tool, Mapping):
        return None, {"name": str(getattr(tool, "name", ""))}
    function = tool.get("function")
    if isinstance(function, Mapping):
        return "chat", {"name": "", "parameters": NO_ARGUMENTS, **function}
    if "input_schema" in tool:
        said = {"name": tool.get("name", ""), "parameters": tool["input_schema"]}
        return "anthropic", said | ({"description": tool["description"]} if "description" in tool else {})
    if tool.get("type", "function") == "function":
        said = {key: value for key, value in tool.items() if key != "type"}
        return "responses", {"name": "", "parameters": NO_ARGUMENTS, **said}
    return None, {"name": str(tool.get("name") or tool.get("type"))}


def _written(said: Mapping[str, Any], form: Form) -> dict[str, Any]:
    if form == "chat":
        return {"type": "function", "function": dict(said)}
    if form == "responses":
        return {"type": "function", **said}
    described = {"description": said["description"]} if said.get("description") else {}
    return {"name": said["name"], **described, "input_schema": said["parameters"]}


def of_turn(turn: Turn, number: int) -> Iterator[dict[str, Any]]:
    """A turn of this request as messages: what the model asked for, and what each tool returned."""
    named = [(call, call.id or f"call_{number}_{index}") for index, call in enumerate(turn.tools)]
    calls = [
        {"id": call_id, "type": "function",
         "function": {"name": call.name, "arguments": msgspec.json.encode(call.arguments, enc_hook=str).decode()}}
        for call, call_id in named
    ]  # fmt: skip
    yield {"role": "assistant", "content": turn.text or None, "tool_calls": calls}
    for (_, call_id), result in zip(named, turn.results, strict=True):
        content = result if isinstance(result, str) else msgspec.json.encode(result, enc_hook=str).decode()
        yield {"role": "tool", "tool_call_id": call_id, "content": content}


def for_responses(messages: Sequence[Any]) -> list[Any]:
    """Returns messages as the items that the Responses API takes."""
    return [item for message in messages for item in _items(message)]


def _items(message: Any) -> Iterator[Any]:
    role = message.get("role") if isinstance(message, Mapping) else None
    if role == "tool":
        output = _text(message.get("content"))
        yield {"type": "function_call_output", "call_id": message.get("tool_call_id", ""), "output": output}
    elif role == "assistant" and message.get("tool_calls"):
        if message.get("content"):
            yield {"role": "assistant", "content": _text(message["content"])}
        for call_id, name, arguments in _calls(message):
            yield {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
    elif role and isinstance(message.get("content"), (list, tuple)):
        kind = "output_text" if role == "assistant" else "input_text"
        parts = [{**part, "type": kind} if _is_text(part) else part for part in message["content"]]
        yield {**message, "content": parts}
    else:
        yield message


def for_anthropic(messages: Sequence[Any], system: str | None) -> tuple[list[Any], str | None]:
    """Returns messages as the Messages API takes them, and the system prompt, which there stands apart."""
    turns: list[Any] = []
    instructions = [system] if system else []
    for message in messages:
        role = message.get("role") if isinstance(message, Mapping) else None
        if role in {"system", "developer"}:
            instructions.append(_text(message.get("content")))
        elif role == "tool":
            result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id", "")}
            turns.append({"role": "user", "content": [{**result, "content": _text(message.get("content"))}]})
        elif role == "assistant" and message.get("tool_calls"):
            said = _text(message.get("content"))
            blocks: list[dict[str, Any]] = [{"type": "text", "text": said}] if said else []
            for call_id, name, arguments in _calls(message):
                blocks.append({"type": "tool_use", "id": call_id, "name": name, "input": _object(arguments)})
            turns.append({"role": "assistant", "content": blocks})
        else:
            turns.append(message)
    return turns, "\n\n".join(instructions) or None


def _calls(message: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for call in message["tool_calls"]:
        function = call["function"]
        yield call.get("id", ""), function["name"], function.get("arguments") or "{}"


def _text(content: Any) -> str:
    if isinstance(content, (list, tuple)):
        return "".join(part["text"] for part in content if _is_text(part))
    return content if isinstance(content, str) else ""


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _object(arguments: str) -> dict[str, Any]:
    return msgspec.json.decode(arguments, type=dict[str, Any])
