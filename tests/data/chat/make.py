"""usage: make.py [TEMPLATE.jinja NAME MODELS] - writes the texts of every file here anew, or adds NAME.json; needs transformers.

Each file holds a template as published, the models that have it, and what Jinja, as transformers sets it up, makes of every
conversation of conversations.json with <s> and </s> as begin and end tokens on 7 March 2026. null: the template raises an
error or loses the system message."""
import datetime
import glob
import json
import os
import sys

from transformers.utils import chat_template_utils

HERE = os.path.dirname(os.path.abspath(__file__))


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 3, 7, 12)


def render(template, conversation):
    messages = [{"role": "system", "content": conversation["system"]}] if "system" in conversation else []
    for user, assistant in conversation["turns"]:
        messages.append({"role": "user", "content": user})
        if assistant is not None:
            messages.append({"role": "assistant", "content": assistant})
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
    except Exception:
        return None
    return texts[0] if conversation.get("system", "").strip() in texts[0] else None


def write(path, models, template):
    conversations = json.load(open(os.path.join(HERE, "conversations.json")))
    texts = [render(template, c) for c in conversations]
    if texts[1] is None:  # no place for a system message, be it empty
        texts = [None if "system" in c else t for c, t in zip(conversations, texts)]
    with open(path, "w") as f:
        json.dump({"models": models, "template": template, "texts": texts}, f, indent=1)
        f.write("\n")


def main():
    chat_template_utils.datetime = FixedDate
    if len(sys.argv) == 4:
        write(os.path.join(HERE, sys.argv[2] + ".json"), sys.argv[3], open(sys.argv[1], newline="").read())
        return
    for path in sorted(glob.glob(os.path.join(HERE, "*.json"))):
        if os.path.basename(path) != "conversations.json":
            old = json.load(open(path))
            write(path, old["models"], old["template"])


main()
