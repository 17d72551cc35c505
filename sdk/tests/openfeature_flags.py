"""The flags that the OpenFeature specification's scenarios (its appendix B) evaluate, as Brownout writes them."""

from typing import Any

PICS = {"showImages": True, "title": "Check out these pics!", "imagesPerPage": 100}

FLAGS: dict[str, dict[str, Any]] = {
    "boolean-flag": {"type": "boolean", "variants": {"off": False, "on": True}, "default": "on"},
    "string-flag": {"type": "string", "variants": {"parting": "bye", "greeting": "hi"}, "default": "greeting"},
    "integer-flag": {"type": "integer", "variants": {"one": 1, "ten": 10}, "default": "ten"},
    "float-flag": {"type": "float", "variants": {"tenth": 0.1, "half": 0.5}, "default": "half"},
    "object-flag": {"type": "object", "variants": {"empty": {}, "template": PICS}, "default": "template"},
    "wrong-flag": {"type": "string", "variants": {"one": "uno", "two": "dos"}, "default": "one"},
    "complex-targeted": {
        "type": "string",
        "variants": {"internal": "INTERNAL", "external": "EXTERNAL"},
        "default": "external",
        "rules": [
            {
                "id": "internal",
                "if": [
                    {"attribute": "customer", "op": "in", "values": [False]},
                    {"attribute": "email", "op": "in", "values": ["ballmer@macrosoft.com"]},
                    {"attribute": "age", "op": "gt", "values": [10]},
                ],
                "serve": "internal",
            }
        ],
    },
}
_ZEROS: dict[str, tuple[Any, Any]] = {
    "boolean": (False, True),
    "string": ("", "str"),
    "integer": (0, 1),
    "float": (0.0, 1.0),
    "object": ({}, PICS),
}
_BALLMER = [{"attribute": "email", "op": "in", "values": ["ballmer@macrosoft.com"]}]
for _name, (_zero, _other) in _ZEROS.items():
    _flag = {"type": _name, "variants": {"zero": _zero, "non-zero": _other}, "default": "zero"}
    FLAGS[f"{_name}-zero-flag"] = _flag
    FLAGS[f"{_name}-targeted-zero-flag"] = _flag | {"rules": [{"id": "ballmer", "if": _BALLMER, "serve": "zero"}]}
    FLAGS[f"{_name}-disabled-flag"] = FLAGS[f"{_name}-flag"] | {"enabled": False}
for _flag in FLAGS.values():
    _flag.setdefault("off_variant", next(iter(_flag["variants"])))
