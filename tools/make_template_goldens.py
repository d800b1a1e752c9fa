#!/usr/bin/env python3
"""Renders the chat templates and expressions of tests/data/chat with Python's Jinja2 and writes what they give.

Usage: make_template_goldens.py [tests/data/chat]
Reads  templates/*.jinja, conversations.json, expressions.txt, expressions_context.json
Writes goldens.json, expressions.json
The environment is the one transformers sets up in utils/chat_template_utils.py (seen in 5.23).
"""
import datetime
import json
import pathlib
import sys

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2025, 6, 7, 12, 34, 56)  # a Saturday


class Generation(jinja2.ext.Extension):
    """{% generation %}: a block of its own scope whose text is passed on."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_pass_on"), [], [], body).set_lineno(line)

    def _pass_on(self, caller):
        return caller()


def make_environment():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = NOW.strftime
    return environment


def render(environment, source, context):
    """The text, or the error."""
    try:
        return {"output": environment.from_string(source).render(**context)}
    except Exception as error:  # whatever the template does wrong
        return {"error": f"{type(error).__name__}: {error}"}


def render_templates(environment, folder):
    conversations = json.loads((folder / "conversations.json").read_text())
    goldens = []
    for path in sorted((folder / "templates").glob("*.jinja")):
        source = path.read_bytes().decode()
        for name, context in conversations.items():
            for add_generation_prompt in (False, True):
                variables = dict(context, add_generation_prompt=add_generation_prompt)
                golden = {"template": path.name, "conversation": name, "add_generation_prompt": add_generation_prompt}
                goldens.append(golden | render(environment, source, variables))
    return goldens


def render_expressions(environment, folder):
    """One template a line; \\n, \\t and \\u in it are read as JSON reads them. "#" begins a comment."""
    context = json.loads((folder / "expressions_context.json").read_text())
    goldens = []
    for line in (folder / "expressions.txt").read_text().splitlines():
        if not line or line.startswith("##"):
            continue
        source = line.replace("¶", "\n")
        goldens.append({"template": source} | render(environment, source, context))
    return goldens


def write(path, goldens):
    lines = ",\n".join(json.dumps(golden, ensure_ascii=False) for golden in goldens)
    path.write_text(f"[\n{lines}\n]\n")
    errors = sum("error" in golden for golden in goldens)
    print(f"{path}: {len(goldens)} goldens, {errors} of them errors")


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/data/chat")
    environment = make_environment()
    write(folder / "goldens.json", render_templates(environment, folder))
    write(folder / "expressions.json", render_expressions(environment, folder))


if __name__ == "__main__":
    main()
